//! A process in the broker's sandbox that does one thing that it may or may not.
//!
//! `confined DIRECTORY DEED` binds a broker in DIRECTORY, whose configuration is DIRECTORY/etc/ipcd.toml, enters its sandbox, and does
//! DEED. It prints `done`, or the kind of the error; after a forbidden system call it prints nothing, because it is dead.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    hint::black_box,
    io,
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::Path,
    process::{self, Command},
    thread,
    time::Duration,
};

use ipc_protocol::transport::Address;
use ipcd::{Config, Server};
use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::{Pid, Resource, Rlimit, Signal, getppid, kill_process, setrlimit},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, deed] = &arguments[..] else { panic!("usage: confined DIRECTORY DEED") };
    let directory = Path::new(directory);
    let server = Server::bind(config(directory)).expect("the directory is the test's own");
    server.sandbox().enter().iter().for_each(|gap| eprintln!("{gap}"));
    match act(directory, deed) {
        Ok(()) => println!("done"),
        Err(error) => println!("{:?}", error.kind()),
    }
}

fn config(directory: &Path) -> Config {
    let socket = Address::Path(directory.join("run/s"));
    Config::load(&directory.join("etc/ipcd.toml"), Some(socket), || unreachable!()).expect("a good configuration")
}

fn act(directory: &Path, deed: &str) -> io::Result<()> {
    match deed {
        // What a broker does.
        "start a thread" => thread::spawn(|| black_box(vec![1; 1 << 20]).len()).join().map(drop).expect("it ends"),
        "use memory" => (0..4).for_each(|round| drop(black_box(vec![round; 64 << 20]))),
        "sleep" => thread::sleep(Duration::from_millis(1)),
        "abort" => process::abort(),
        "panic" => panic!("as told"),
        "overflow the stack" => drop(black_box(deeper(0))),
        "read the configuration" => drop(fs::read(directory.join("etc/ipcd.toml"))?),
        "replace the lock" => {
            fs::remove_file(directory.join("run/s.lock"))?;
            fs::write(directory.join("run/s.lock"), "1")?;
        }
        "bind a socket" => drop(UnixDatagram::bind(directory.join("run/other"))?),
        // What Landlock refuses.
        "read a file elsewhere" => drop(File::open("/etc/passwd")?),
        "write to a file elsewhere" => fs::write(directory.join("other"), "x")?,
        "write to the configuration" => fs::write(directory.join("etc/ipcd.toml"), "x")?,
        "bind a socket elsewhere" => drop(UnixDatagram::bind(directory.join("other"))?),
        "list a directory" => drop(fs::read_dir(directory.join("run"))?),
        // What the filter kills.
        "execute a program" => return Err(Command::new("/bin/true").exec()),
        "start a process" => drop(Command::new("/bin/true").spawn()?),
        "open a network socket" => drop(socket(AddressFamily::INET, SocketType::STREAM, None)?),
        "ask for the parent" => drop(getppid()),
        "ask for the parent in a thread" => thread::spawn(getppid).join().map(drop).expect("it ends"),
        "send a signal" => kill_process(Pid::INIT, Signal::CONT)?,
        "set a limit" => setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?,
        other => panic!("{other}: unknown"),
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "this is what it is for")]
fn deeper(depth: u64) -> [u64; 64] {
    black_box(deeper(black_box(depth + 1)))
}
