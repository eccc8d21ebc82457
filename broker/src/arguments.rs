//! The command line of `ipcd`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, ValueHint};

/// A local IPC broker: routes calls between processes over AF_UNIX sockets.
#[derive(Debug, Parser)]
#[command(name = "ipcd", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to listen: a path, @name (abstract) or fd:N (an inherited listening socket). By default the first of: 'socket' in the
    /// configuration file, $IPCD_SOCKET, $XDG_RUNTIME_DIR/ipcd/ipcd.sock, /run/ipcd/ipcd.sock for root, /tmp/ipcd-UID/ipcd.sock
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: Option<OsString>,
    /// Do not open the datagram socket (PATH.dgram)
    #[arg(long)]
    pub(crate) no_datagram: bool,
    /// TOML file with 'socket', 'datagram' and a section 'limits'; read again on SIGHUP
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Only check the configuration file: print its mistakes and exit 78, or exit 0
    #[arg(long, requires = "config")]
    pub(crate) check: bool,
    /// Keep the environment, allow core dumps and debuggers, and don't restrict files and system calls
    #[arg(long)]
    pub(crate) no_sandbox: bool,
    /// Log connections as they come and go
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

const EXAMPLES: &str = "\
Signals:
  TERM, INT  finish running calls for up to 5 s (drain_ms), then exit; the second one exits at once
  HUP        read the limits in the configuration file again

Sandbox:
  ipcd reaches no files but those in the directories of its socket and its configuration: give it directories of its own
  For debuggers and tracers it stays outside: strace -c ipcd --no-sandbox

Example:
  export IPCD_SOCKET=$HOME/ipcd.sock
  ipcd &
  ipcctl wait && ipcctl peers";
