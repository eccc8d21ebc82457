//! The watchdog of a service manager: the routing loop feeds it, and nothing about it holds the loop up.

use std::{
    os::unix::net::{UnixDatagram, UnixStream},
    path::PathBuf,
};

use ipc_tests::{
    command::{Command, Running},
    eventually::SOON,
    peer::Peer,
    programs::Programs,
};
use nix::sys::signal::Signal;

/// A service manager, as far as a broker sees it.
struct Manager {
    place: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(place.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { place, socket }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn broker(&self) -> Command {
        let arguments = ["--socket".into(), self.path("s").into_os_string()];
        Command::new(&Programs::get().ipcd, arguments).env("NOTIFY_SOCKET", self.path("notify"))
    }

    /// Starts a broker with a watchdog that barks after `microseconds`.
    fn watch(&self, microseconds: &str) -> Running {
        ready(self.broker().env("WATCHDOG_USEC", microseconds))
    }

    fn next(&self) -> String {
        let mut told = [0; 100];
        let len = self.socket.recv(&mut told).unwrap();
        String::from_utf8_lossy(&told[..len]).into_owned()
    }

    /// Takes messages until none is queued.
    fn empty_the_queue(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 100]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    #[track_caller]
    fn peer(&self) -> Peer {
        Peer::on(UnixStream::connect(self.path("s")).unwrap()).greet()
    }

    #[track_caller]
    fn expect_answers(&self) {
        self.peer().settle();
    }
}

fn ready(command: Command) -> Running {
    let running = command.start();
    running.expect_output("ipcd: ready on ");
    running
}

#[test]
fn an_idle_broker_feeds_the_watchdog_again_and_again() {
    let manager = Manager::new();
    let _broker = manager.watch("100000");
    assert_eq!([(); 4].map(|()| manager.next()), ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
}

#[test]
fn a_broker_that_drains_feeds_it_too() {
    let manager = Manager::new();
    let broker = manager.watch("100000");
    let (mut service, mut caller) = (manager.peer(), manager.peer());
    service.register("slow", 1);
    caller.call("slow.run", "");
    let call = service.delivered();
    broker.signal(Signal::SIGTERM);
    while manager.next() != "STOPPING=1" {}
    assert_eq!(manager.next(), "WATCHDOG=1");
    service.answer(&call, "");
    assert_eq!(broker.finish().code, 0);
}

#[test]
fn the_watchdog_of_another_process_is_left_alone() {
    let manager = Manager::new();
    let broker = ready(manager.broker().env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1"));
    manager.expect_answers();
    broker.signal(Signal::SIGTERM);
    assert_eq!([(); 2].map(|()| manager.next()), ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_watchdog_without_a_manager_or_a_time_is_none() {
    let manager = Manager::new();
    let broker = manager.watch("soon");
    manager.expect_answers();
    broker.signal(Signal::SIGTERM);
    assert_eq!([(); 2].map(|()| manager.next()), ["READY=1", "STOPPING=1"]);
    let _alone = ready(manager.broker().env("NOTIFY_SOCKET", "").env("WATCHDOG_USEC", "1000"));
    manager.expect_answers();
}

#[test]
fn a_manager_that_does_not_read_is_fed_again_once_it_does() {
    let manager = Manager::new();
    let _broker = manager.watch("10000");
    manager.socket.set_nonblocking(true).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", manager.path("notify")).is_ok() {}
    manager.expect_answers();
    manager.empty_the_queue();
    assert_eq!(manager.next(), "WATCHDOG=1");
}
