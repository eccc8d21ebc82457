//! Publishers and subscribers against a broker that follows a script.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod delivery;
mod loops;
mod losses;
mod publishing;
mod services;

use std::{borrow::Cow, thread};

use common::{Door, Line, PATIENCE};
use ipc_client::{Client, Event, Notice, Subscribe, Subscription, Topic};

/// The readings of one room.
struct Room(&'static str);

impl Topic for Room {
    type Event = f64;

    fn name(&self) -> Cow<'_, str> {
        format!("home.{}.temperature", self.0).into()
    }
}

/// Starts a subscription, to which the broker gives a number.
fn started(line: &mut Line, number: u64, subscribe: Subscribe) -> Subscription {
    thread::scope(|scope| {
        let starting = scope.spawn(|| subscribe.start().unwrap());
        line.expect_subscribe(number);
        starting.join().unwrap()
    })
}

/// A subscription to everything below `t`, under number 5.
fn subscribed() -> (Client, Line, Subscription) {
    let (client, mut line) = Line::open_pair();
    let subscription = started(&mut line, 5, client.subscription("t."));
    (client, line, subscription)
}

/// The same on a connection that can be made anew.
fn subscribed_at(door: &Door) -> (Client, Line, Subscription) {
    let (client, mut line) = door.open_client();
    let subscription = started(&mut line, 5, client.subscription("t."));
    (client, line, subscription)
}

fn next(subscription: &mut Subscription) -> Notice {
    subscription.next_within(PATIENCE).unwrap().expect("nothing was told")
}

fn next_event(subscription: &mut Subscription) -> Event {
    match next(subscription) {
        Notice::Event(event) => event,
        other => panic!("no event: {other:?}"),
    }
}
