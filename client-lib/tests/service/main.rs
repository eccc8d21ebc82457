//! A service against a broker that follows a script.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod cancels;
mod ends;
mod nested;
mod registration;

use std::thread;

use common::{Add, Door, Line, TooLarge};
use ipc_client::{Failed, Service, Serving};

fn sum(add: Add) -> Result<i64, Failed<TooLarge>> {
    Ok(add.a.checked_add(add.b).ok_or(TooLarge { a: add.a, b: add.b })?)
}

fn adder() -> Service {
    Service::new("calc").quick(|add: Add, _| sum(add))
}

/// Starts a service at a door, and registers it.
fn start(door: &Door, service: Service) -> (Serving, Line) {
    let service = service.address(&door.address());
    thread::scope(|scope| {
        let starting = scope.spawn(|| service.start().unwrap());
        let (line, _) = door.accept_service();
        (starting.join().unwrap(), line)
    })
}

/// Stops a service that has nothing to do.
fn stop(serving: Serving, mut line: Line) {
    thread::scope(|scope| {
        let stopping = scope.spawn(|| serving.stop());
        line.expect_unregister();
        line.expect_end();
        stopping.join().unwrap();
        serving.wait().unwrap();
    });
}
