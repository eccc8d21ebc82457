//! Calls with the client library.

use std::{thread, time::Duration};

use ipc_client::{CallError, Client, Error, ErrorCode, Pending, PendingBytes, Request, Response, Retry, Target};
use ipc_tests::eventually::within;

use super::{Begun, Journal, TIMEOUT, datagrams, pace::Pace};
use crate::{
    dice::Dice,
    ledger::{End, Flaw, Told},
    stage::{Curtain, Place},
    work::{Troupe, Work},
};

/// Calls from several threads: most share a client, one connects for each call, one sends datagrams.
pub(super) fn call(place: &Place, curtain: &Curtain, journal: &Journal) {
    let Some(client) = connect(place, curtain) else { return };
    let rate = (place.rate / (SHARING + 2)).max(1);
    thread::scope(|scope| {
        for thread in 0..SHARING {
            let (client, dice) = (&client, place.dice(thread));
            scope.spawn(move || Voice { client, journal, dice }.call(Pace::new(rate), curtain));
        }
        scope.spawn(|| briefly(place, Pace::new(rate.min(200)), curtain, journal));
        scope.spawn(|| datagrams::call(place, Pace::new(rate), curtain, journal));
    });
}

/// A client, as soon as there is a broker.
fn connect(place: &Place, curtain: &Curtain) -> Option<Client> {
    let mut client = None;
    within(Duration::from_secs(3_600), || {
        client = Client::connect_to(&place.address()).ok();
        client.is_some() || curtain.is_down()
    });
    client
}

/// Connects for each call.
fn briefly(place: &Place, mut pace: Pace, curtain: &Curtain, journal: &Journal) {
    let mut dice = place.dice(SHARING);
    while pace.take(1, curtain).is_some() {
        let Some(client) = connect(place, curtain) else { return };
        Voice { client: &client, journal, dice: Dice::new(dice.roll(), 0) }.say(1);
    }
}

/// One thread that calls.
struct Voice<'a> {
    client: &'a Client,
    journal: &'a Journal,
    dice: Dice,
}

/// A call under way.
enum Said {
    Typed(Pending<Work>),
    Bytes(PendingBytes),
    Unsaid(Error),
}

impl Voice<'_> {
    fn call(mut self, mut pace: Pace, curtain: &Curtain) {
        while let Some(due) = pace.take(16, curtain) {
            self.say(due);
        }
    }

    /// Makes so many calls, of one kind.
    fn say(&mut self, count: u64) {
        let troupe = Troupe::roll(&mut self.dice);
        match self.dice.below(20) {
            0 => (0..count).for_each(|_| self.tell(troupe)),
            1 => self.give_up(troupe, count),
            2 => {
                let timeout = Duration::from_millis(1) + self.dice.ms(20);
                self.ask(troupe, count, timeout);
            }
            3..6 => {
                let corked = self.client.cork();
                self.ask(troupe, count, TIMEOUT);
                drop(corked);
            }
            _ => self.ask(troupe, count, TIMEOUT),
        }
    }

    /// Calls, and waits for the ends.
    fn ask(&mut self, troupe: Troupe, count: u64, timeout: Duration) {
        let said: Vec<_> = (0..count).map(|_| self.start(troupe, timeout)).collect();
        let ends: Vec<_> = said.into_iter().map(|(begun, work, said)| end_of(&begun, &work, said)).collect();
        self.journal.ends.told(&ends);
    }

    /// Calls, and waits for nothing.
    fn give_up(&mut self, troupe: Troupe, count: u64) {
        let said: Vec<_> = (0..count).map(|_| self.start(troupe, TIMEOUT)).collect();
        let ends = said.into_iter().map(|(begun, _, said)| match said {
            Said::Unsaid(error) => begun.fails(&error),
            Said::Typed(_) | Said::Bytes(_) => begun.ends(Told::GivenUp),
        });
        self.journal.ends.told(&ends.collect::<Vec<_>>());
    }

    /// A call that wants no reply.
    fn tell(&mut self, troupe: Troupe) {
        let (begun, work) = self.begin(troupe, TIMEOUT);
        let told =
            if troupe == Troupe::Quick { self.client.tell(&work) } else { self.client.one_way(request(troupe, &work)) };
        let end = told.map_or_else(|error| begun.fails(&error), |()| begun.ends(Told::Accepted));
        self.journal.ends.told(&[end]);
    }

    fn start(&mut self, troupe: Troupe, timeout: Duration) -> (Begun, Work, Said) {
        let (begun, work) = self.begin(troupe, timeout);
        let is_typed = troupe == Troupe::Quick && timeout == TIMEOUT;
        let said = if is_typed {
            self.client.start(work.clone()).map(Said::Typed)
        } else {
            self.client.start_bytes(request(troupe, &work).timeout(timeout)).map(Said::Bytes)
        };
        (begun, work, said.unwrap_or_else(Said::Unsaid))
    }

    fn begin(&mut self, troupe: Troupe, timeout: Duration) -> (Begun, Work) {
        let begun = Begun::now(self.journal.next(), troupe, timeout);
        (begun, Work::roll(&mut self.dice, begun.id, troupe, LONGEST))
    }
}

/// A call of bytes.
pub(super) fn request(troupe: Troupe, work: &Work) -> Request {
    let target = Target::parse(troupe.target()).expect("a name of the show");
    Request::new(target, work.to_json()).encoding(Troupe::ENCODING)
}

/// What a call of bytes ended with.
pub(super) fn end_of_bytes(begun: &Begun, work: &Work, outcome: Result<Response, Error>) -> End {
    match outcome {
        Ok(reply) if work.is_answered_by(&reply.body) => begun.ends(Told::Answered),
        Ok(_) => begun.ends(Told::Answered).flawed(Flaw::Wrong),
        Err(error) => begun.fails(&error),
    }
}

fn end_of(begun: &Begun, work: &Work, said: Said) -> End {
    match said {
        Said::Unsaid(error) => begun.fails(&error),
        Said::Bytes(pending) => end_of_bytes(begun, work, pending.wait()),
        Said::Typed(pending) => match pending.wait() {
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
