//! Notifications for a service manager: datagrams to `$NOTIFY_SOCKET` (sd_notify(3)). A manager that doesn't read must not delay a
//! broker.

use std::{env, ffi::OsStr, io, os::fd::OwnedFd, os::unix::ffi::OsStrExt, time::Duration};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::core::Moment;

/// The connection to a service manager, and its watchdog. Without a manager, nothing is sent.
///
/// It is connected once, because a sandbox may allow no other socket later.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<OwnedFd>,
    watchdog: Option<Watchdog>,
}

/// The manager kills a service that is silent for as long as it says (`WatchdogSec=`).
#[derive(Debug)]
struct Watchdog {
    /// Half of that time.
    every: Duration,
    next: Moment,
}

impl Notifier {
    /// Connects to the manager that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, and `WATCHDOG_PID` if the watchdog is meant
    /// for another process.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub fn from_environment() -> io::Result<Self> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let Some(address) = address(&name)? else { return Ok(Self::default()) };
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &address)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        let watchdog = sd_notify::watchdog_enabled().filter(|within| !within.is_zero());
        Ok(Self { socket: Some(socket), watchdog: watchdog.map(Watchdog::new) })
    }

    /// Notifies it that the sockets are open. It kills a unit whose READY=1 is lost, and its queue may be full for a moment at boot, so
    /// this waits for up to half a second.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn ready(&self) -> io::Result<()> {
        self.send(b"READY=1", SendFlags::empty())
    }

    /// Notifies it that the broker is draining. This doesn't wait, because the manager notices the end anyway.
    pub(crate) fn stopping(&self) {
        let _ = self.send(b"STOPPING=1", SendFlags::DONTWAIT);
    }

    /// When [`Notifier::feed`] has something to do.
    pub(crate) fn next_feed(&self) -> Option<Moment> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Tells the watchdog that the broker works, when it is time.
    pub(crate) fn feed(&mut self, now: Moment) {
        if self.next_feed().is_none_or(|next| now < next) {
            return;
        }
        let is_sent = self.send(b"WATCHDOG=1", SendFlags::DONTWAIT).is_ok();
        if let Some(watchdog) = &mut self.watchdog {
            // There is time for a few more tries, if the manager's queue is full.
            let wait = if is_sent { watchdog.every } else { watchdog.every / 8 };
            watchdog.next = now.after(wait.max(SHORTEST));
        }
    }

    fn send(&self, text: &[u8], flags: SendFlags) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        send(socket, text, flags | SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Watchdog {
    fn new(within: Duration) -> Self {
        Self { every: within / 2, next: Moment(0) }
    }
}

/// Parses `/path` or `@name` (abstract). Other forms (vsock) are for virtual machines.
fn address(socket: &OsStr) -> io::Result<Option<SocketAddrUnix>> {
    match socket.as_bytes() {
        [b'@', name @ ..] => Ok(Some(SocketAddrUnix::new_abstract_name(name)?)),
        path @ [b'/', ..] => Ok(Some(SocketAddrUnix::new(path)?)),
        _ => Ok(None),
    }
}

/// The time for sending READY=1.
const PATIENCE: Duration = Duration::from_millis(500);
/// The shortest pause between two messages to the watchdog: a period of microseconds must not keep the broker busy.
const SHORTEST: Duration = Duration::from_millis(1);
