//! Calls with the client library.

use std::{thread, time::Duration};

use ipc_client::{CallError, Client, Error, ErrorCode, Pending, PendingBytes, Request, Response, Retry, Target};
use ipc_tests::eventually::within;

use super::{Begun, Journal, TIMEOUT, datagrams, pace::Pace};
use crate::{
    dice::Dice,
    ledger::{End, Flaw, Told},
    place::{Halt, Place},
    work::{Kind, Work},
};

/// Calls from several threads: most share a client, one connects for each call, one sends datagrams.
pub(super) fn call(place: &Place, halt: &Halt, journal: &Journal) {
    let Some(client) = connect(place, halt) else { return };
    let rate = (place.rate / (SHARING + 2)).max(1);
    thread::scope(|scope| {
        for thread in 0..SHARING {
            let (client, dice) = (&client, place.dice(thread));
            scope.spawn(move || Worker { client, journal, dice }.call(Pace::new(rate), halt));
        }
        scope.spawn(|| briefly(place, Pace::new(rate.min(200)), halt, journal));
        scope.spawn(|| datagrams::call(place, Pace::new(rate), halt, journal));
    });
}

/// A client, as soon as there is a broker.
fn connect(place: &Place, halt: &Halt) -> Option<Client> {
    let mut client = None;
    within(Duration::from_secs(3_600), || {
        client = Client::connect_to(&place.address()).ok();
        client.is_some() || halt.is_asked()
    });
    client
}

/// Connects for each call.
fn briefly(place: &Place, mut pace: Pace, halt: &Halt, journal: &Journal) {
    let mut dice = place.dice(SHARING);
    while pace.take(1, halt).is_some() {
        let Some(client) = connect(place, halt) else { return };
        Worker { client: &client, journal, dice: Dice::new(dice.roll(), 0) }.call_some(1);
    }
}

/// One thread that calls.
struct Worker<'a> {
    client: &'a Client,
    journal: &'a Journal,
    dice: Dice,
}

/// A call under way.
enum Started {
    Typed(Pending<Work>),
    Bytes(PendingBytes),
    Refused(Error),
}

impl Worker<'_> {
    fn call(mut self, mut pace: Pace, halt: &Halt) {
        while let Some(due) = pace.take(16, halt) {
            self.call_some(due);
        }
    }

    /// Makes `count` calls of one kind.
    fn call_some(&mut self, count: u64) {
        let kind = Kind::roll(&mut self.dice, self.journal.rate);
        match self.dice.below(20) {
            0 => (0..count).for_each(|_| self.tell(kind)),
            1 => self.give_up(kind, count),
            2 => {
                let timeout = Duration::from_millis(1) + self.dice.ms(20);
                self.ask(kind, count, timeout);
            }
            3..6 => {
                let corked = self.client.cork();
                self.ask(kind, count, TIMEOUT);
                drop(corked);
            }
            _ => self.ask(kind, count, TIMEOUT),
        }
    }

    /// Calls, and waits for the ends.
    fn ask(&mut self, kind: Kind, count: u64, timeout: Duration) {
        let started: Vec<_> = (0..count).map(|_| self.start(kind, timeout)).collect();
        let ends: Vec<_> = started.into_iter().map(|(begun, work, started)| end_of(&begun, &work, started)).collect();
        self.journal.ends.told(&ends);
    }

    /// Calls, and waits for nothing.
    fn give_up(&mut self, kind: Kind, count: u64) {
        let started: Vec<_> = (0..count).map(|_| self.start(kind, TIMEOUT)).collect();
        let ends = started.into_iter().map(|(begun, _, started)| match started {
            Started::Refused(error) => begun.fails(&error),
            Started::Typed(_) | Started::Bytes(_) => begun.ends(Told::GivenUp),
        });
        self.journal.ends.told(&ends.collect::<Vec<_>>());
    }

    /// A call that wants no reply.
    fn tell(&mut self, kind: Kind) {
        let (begun, work) = self.begin(kind, TIMEOUT);
        let told =
            if kind == Kind::Quick { self.client.tell(&work) } else { self.client.one_way(request(kind, &work)) };
        let end = told.map_or_else(|error| begun.fails(&error), |()| begun.ends(Told::Accepted));
        self.journal.ends.told(&[end]);
    }

    fn start(&mut self, kind: Kind, timeout: Duration) -> (Begun, Work, Started) {
        let (begun, work) = self.begin(kind, timeout);
        let is_typed = kind == Kind::Quick && timeout == TIMEOUT;
        let started = if is_typed {
            self.client.start(work.clone()).map(Started::Typed)
        } else {
            self.client.start_bytes(request(kind, &work).timeout(timeout)).map(Started::Bytes)
        };
        (begun, work, started.unwrap_or_else(Started::Refused))
    }

    fn begin(&mut self, kind: Kind, timeout: Duration) -> (Begun, Work) {
        let begun = Begun::now(self.journal.next(), kind, timeout);
        (begun, Work::roll(&mut self.dice, begun.id, kind, LONGEST))
    }
}

/// A call of bytes.
pub(super) fn request(kind: Kind, work: &Work) -> Request {
    let target = Target::parse(kind.target()).expect("the name of a service");
    Request::new(target, work.to_json()).encoding(Kind::ENCODING)
}

/// What a call of bytes ended with.
pub(super) fn end_of_bytes(begun: &Begun, work: &Work, outcome: Result<Response, Error>) -> End {
    match outcome {
        Ok(reply) if work.is_answered_by(&reply.body) => begun.ends(Told::Answered),
        Ok(_) => begun.ends(Told::Answered).flawed(Flaw::Wrong),
        Err(error) => begun.fails(&error),
    }
}

fn end_of(begun: &Begun, work: &Work, started: Started) -> End {
    match started {
        Started::Refused(error) => begun.fails(&error),
        Started::Bytes(pending) => end_of_bytes(begun, work, pending.wait()),
        Started::Typed(pending) => match pending.wait() {
            Ok(id) if id == work.id().0 => begun.ends(Told::Answered),
            Ok(_) => begun.ends(Told::Answered).flawed(Flaw::Wrong),
            Err(CallError::App(_)) => begun.ends(Told::error(ErrorCode::APP_ERROR, Retry::Unknown)),
            Err(CallError::Failed(error)) => begun.fails(&error),
            Err(_) => begun.ends(Told::Answered).flawed(Flaw::Wrong),
        },
    }
}

/// Threads that share the client.
const SHARING: u64 = 4;
/// The longest body that is sent: longer than what one read takes, so that it is assembled.
const LONGEST: u64 = 400_000;
