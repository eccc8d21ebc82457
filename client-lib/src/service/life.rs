//! The life of a service, a step at a time: it answers, comes back after the broker died, and leaves when it is stopped. No step
//! waits for anything but what it is told to; [`Serving`](super::Serving) takes the steps on a thread, [`Polled`](super::Polled) in
//! the program's own loop.
//!
//! ```text
//! Registering --> Serving --stopped--> Unregistering --> Draining --> Ended
//!   ^    |         |    ^
//!   |    |         |    +--> Renewing (says something else of itself)
//!   |    v         v lost
//!   +-- Away <-----+
//! ```

use std::{
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{
    ErrorCode,
    control::operation::Register,
    transport::{
        Bell,
        poll::{self, PollFd, PollFlags},
    },
};

use super::{
    Stopper,
    change::Change,
    offer::Offer,
    turns::{Common, Turns},
    workers::Workers,
};
use crate::{
    client::Client,
    description::Description,
    error::{Error, Result},
    link::{
        backoff::Backoff,
        blocking::{Connection, Receiver},
    },
    session::{
        Loss, Outcome, Serial,
        outgoing::{Operated, decode_answer},
    },
};

/// A service from its registration to its end.
pub(super) struct Life {
    common: Common,
    stopper: Stopper,
    phase: Phase,
    backoff: Backoff,
    /// Whether the broker knows another description.
    is_stale: bool,
    /// Since when there has been no connection.
    away_since: Option<Instant>,
}

enum Phase {
    Serving(Box<Turns>),
    Away {
        again: Instant,
    },
    Registering(Box<Turns>, Question),
    /// The name was given back and asked for again with one write; the first answer is taken with the second.
    Renewing(Box<Turns>, Serial, Question),
    Unregistering(Box<Turns>, Question),
    Draining {
        turns: Box<Turns>,
        until: Instant,
    },
    Ended(Result<()>),
}

/// A call to the broker that is under way.
#[derive(Clone, Copy)]
struct Question {
    id: Serial,
    until: Instant,
}

/// Whether a step may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Block,
    /// It takes what is there.
    DontBlock,
}

impl Life {
    /// Connects, starts the pool and registers, waiting for the answer: a call never meets a service without threads.
    ///
    /// # Errors
    /// As [`Service::start`](super::Service::start).
    pub(super) fn begin(mut offer: Offer, stopper: Option<Stopper>) -> Result<Self> {
        let stopper = stopper.map_or_else(Stopper::new, Ok).map_err(no_eventfd)?;
        let idle = Bell::new().map_err(no_eventfd)?;
        let connection = offer.connect(Duration::MAX)?;
        let workers = Arc::new(Workers::start(offer.threads)?);
        offer.threads = workers.threads(); // which may be fewer than were question for
        offer.register(&connection)?;
        let receiver = claim(&connection)?;
        let client = Client::of_service(connection);
        let common = Common { offer: Arc::new(offer), workers, client, idle };
        let turns = Turns::new(&common, common.client.connection(), receiver);
        let phase = Phase::Serving(Box::new(turns));
        Ok(Self { common, stopper, phase, backoff: Backoff::new(), is_stale: false, away_since: None })
    }

    /// Serves until the end.
    pub(super) fn run(mut self) -> Result<()> {
        loop {
            self.step(Wait::Block);
            if let Phase::Ended(result) = &self.phase {
                return result.clone();
            }
        }
    }

    /// Does what there is to do; waits for more if it may and there is nothing.
    pub(super) fn step(&mut self, wait: Wait) {
        let phase = mem::replace(&mut self.phase, Phase::Ended(Ok(())));
        self.phase = match phase {
            Phase::Serving(turns) => self.serve(turns, wait),
            Phase::Away { again } => self.stay_away(again, wait),
            Phase::Registering(turns, question) => self.register(turns, question, wait),
            Phase::Renewing(turns, returned, question) => self.renew(turns, returned, question, wait),
            Phase::Unregistering(turns, question) => self.unregister(turns, question, wait),
            Phase::Draining { turns, until } => self.drain(turns, until, wait),
            ended @ Phase::Ended(_) => ended,
        };
    }

    /// Says something else of the service from now on. The broker learns it with the next step, or the next registration.
    pub(super) fn describe(&mut self, description: Description) {
        self.is_stale |= self.common.offer.say(description);
    }

    /// The connection in use.
    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        match &self.phase {
            Phase::Serving(turns)
            | Phase::Registering(turns, _)
            | Phase::Renewing(turns, ..)
            | Phase::Unregistering(turns, _)
            | Phase::Draining { turns, .. } => Some(turns.connection()),
            Phase::Away { .. } | Phase::Ended(_) => None,
        }
    }

    /// When the next step is due although nothing is there to be read.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Serving(_) | Phase::Ended(_) => None,
            Phase::Away { again } => Some(*again),
            Phase::Registering(_, question) | Phase::Renewing(_, _, question) | Phase::Unregistering(_, question) => {
                Some(question.until)
            }
            Phase::Draining { until, .. } => Some(*until),
        }
    }

    /// Tells phases apart: one that has changed may have something to do at once.
    pub(super) fn phase_number(&self) -> u8 {
        match &self.phase {
            Phase::Serving(_) => 0,
            Phase::Away { .. } => 1,
            Phase::Registering(..) => 2,
            Phase::Unregistering(..) => 3,
            Phase::Draining { .. } => 4,
            Phase::Ended(_) => 5,
            Phase::Renewing(..) => 6,
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<&Result<()>> {
        match &self.phase {
            Phase::Ended(result) => Some(result),
            _ => None,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.common.client
    }

    /// Threads of the pool.
    pub(super) fn threads(&self) -> usize {
        self.common.offer.threads
    }

    pub(super) fn stopper(&self) -> &Stopper {
        &self.stopper
    }

    pub(super) fn idle(&self) -> &Bell {
        &self.common.idle
    }

    fn serve(&mut self, mut turns: Box<Turns>, wait: Wait) -> Phase {
        if self.stopper.is_used() {
            return self.leave(turns);
        }
        if mem::take(&mut self.is_stale) {
            return self.ask_anew(turns);
        }
        match turns.turn(self.stopper.bell(), wait.until(None)) {
            Ok(()) => Phase::Serving(turns),
            Err(loss) => self.lost(&turns, Error::new(loss.code, loss.text)),
        }
    }

    /// Gives the name back and asks for it with what is said now. Both leave together, so that the name is hardly ever missing.
    fn ask_anew(&mut self, turns: Box<Turns>) -> Phase {
        let offer = &self.common.offer;
        let asked = offer.unregistration().and_then(|back| {
            let returned = turns.connection().gather_from_reader(&back.outgoing(), Instant::now())?;
            Ok((returned, ask(&turns, &offer.registration()?, REGISTER_TIMEOUT)?))
        });
        match asked {
            Ok((Some(returned), question)) => Phase::Renewing(turns, returned, question),
            Ok((None, _)) => {
                self.give_up(&turns, Error::new(ErrorCode::BROKER_LOST, turns.connection().ended_before()))
            }
            Err(error) => self.give_up(&turns, error),
        }
    }

    fn renew(&mut self, mut turns: Box<Turns>, returned: Serial, question: Question, wait: Wait) -> Phase {
        if self.stopper.is_used() {
            return self.leave(turns);
        }
        let turned = turns.turn(self.stopper.bell(), wait.until(Some(question.until)));
        let Some(outcome) = question.outcome(&turns, turned) else { return Phase::Renewing(turns, returned, question) };
        drop(turns.connection().take(returned));
        match outcome.and_then(|response| decode_answer::<Register>(&response)) {
            Ok(_) => Phase::Serving(turns),
            Err(error) => self.give_up(&turns, error),
        }
    }

    /// Leaves a connection on which the service has no name any more, for a new one.
    fn give_up(&mut self, turns: &Turns, error: Error) -> Phase {
        turns.connection().close("the service could not register anew");
        self.lost(turns, error)
    }

    fn lost(&mut self, turns: &Turns, error: Error) -> Phase {
        turns.end();
        if self.stopper.is_used() {
            return Phase::Ended(Ok(()));
        }
        if !self.common.offer.dial.can_redial() {
            return Phase::Ended(Err(error));
        }
        self.common.offer.tell(&Change::Lost(error));
        self.away_since = Some(Instant::now());
        self.backoff = Backoff::new();
        self.pause()
    }

    fn pause(&mut self) -> Phase {
        Phase::Away { again: Instant::now() + self.backoff.pause() }
    }

    fn stay_away(&mut self, again: Instant, wait: Wait) -> Phase {
        if self.stopper.is_used() {
            return Phase::Ended(Ok(()));
        }
        if Instant::now() >= again {
            return self.come_back().unwrap_or_else(|error| self.failed(error));
        }
        let until = wait.until(Some(again));
        match poll::wait(&mut [PollFd::new(self.stopper.bell(), PollFlags::IN)], until) {
            Ok(_) => Phase::Away { again },
            Err(error) => Phase::Ended(Err(Error::new(ErrorCode::INTERNAL, "waiting failed").caused_by(error))),
        }
    }

    /// Connects and asks for the name. Nothing else leaves before the broker has agreed.
    fn come_back(&mut self) -> Result<Phase> {
        self.is_stale = false;
        let connection = Arc::new(self.common.offer.connect(Duration::ZERO)?);
        let receiver = claim(&connection)?;
        let turns = Turns::new(&self.common, connection, receiver);
        let question = ask(&turns, &self.common.offer.registration()?, REGISTER_TIMEOUT)?;
        Ok(Phase::Registering(Box::new(turns), question))
    }

    fn failed(&mut self, error: Error) -> Phase {
        let since = self.away_since.map_or(Duration::ZERO, |since| since.elapsed());
        if !is_passing(&error, since) {
            return Phase::Ended(Err(error));
        }
        self.common.offer.tell(&Change::Refused(error));
        self.pause()
    }

    fn register(&mut self, mut turns: Box<Turns>, question: Question, wait: Wait) -> Phase {
        if self.stopper.is_used() {
            turns.connection().close(STOPPED);
            return Phase::Ended(Ok(()));
        }
        let read = turns.read(self.stopper.bell(), wait.until(Some(question.until)));
        let Some(outcome) = question.outcome(&turns, read) else { return Phase::Registering(turns, question) };
        let registered = outcome.and_then(|response| decode_answer::<Register>(&response));
        match registered {
            Ok(_) => {
                self.common.client.adopt(turns.connection().clone()); // before the calls that came with the answer: they may call back
                self.away_since = None;
                self.common.offer.tell(&Change::Returned);
                turns.answer();
                Phase::Serving(turns)
            }
            Err(error) => {
                turns.connection().close("the service could not register");
                turns.end();
                self.failed(error)
            }
        }
    }

    fn leave(&mut self, turns: Box<Turns>) -> Phase {
        match self.common.offer.unregistration().and_then(|call| ask(&turns, &call, UNREGISTER_TIMEOUT)) {
            Ok(question) => Phase::Unregistering(turns, question),
            Err(_) => finish(&turns),
        }
    }

    fn unregister(&mut self, mut turns: Box<Turns>, question: Question, wait: Wait) -> Phase {
        // Calls that were read together with the answer have begun or are answered when it is seen here; no more come behind it.
        let turned = turns.turn(&self.common.idle, wait.until(Some(question.until)));
        match question.outcome(&turns, turned) {
            None => Phase::Unregistering(turns, question),
            Some(Ok(_)) => {
                turns.watch_for_idle();
                Phase::Draining { turns, until: Instant::now() + DRAIN }
            }
            Some(Err(_)) => finish(&turns),
        }
    }

    fn drain(&mut self, mut turns: Box<Turns>, until: Instant, wait: Wait) -> Phase {
        if turns.is_idle() || Instant::now() >= until {
            return finish(&turns);
        }
        let turned = turns.turn(&self.common.idle, wait.until(Some(until)));
        self.common.idle.silence();
        if turned.is_err() { finish(&turns) } else { Phase::Draining { turns, until } }
    }
}

impl Drop for Life {
    /// Those who use its client for something else hear that it is over.
    fn drop(&mut self) {
        self.common.client.retire();
    }
}

impl Question {
    /// What the call has ended with after a turn, if it has.
    fn outcome(self, turns: &Turns, turned: Result<(), Loss>) -> Option<Outcome> {
        if let Some(outcome) = turns.connection().take(self.id) {
            return Some(outcome);
        }
        let late = || Error::new(ErrorCode::DEADLINE, "the broker does not answer");
        match turned {
            Err(loss) => Some(Err(Error::new(loss.code, loss.text))),
            Ok(()) if Instant::now() >= self.until => Some(Err(late())),
            Ok(()) => None,
        }
    }
}

impl Wait {
    fn until(self, due: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Block => due,
            Self::DontBlock => Some(Instant::now()),
        }
    }
}

/// Asks the broker from the thread that reads.
fn ask(turns: &Turns, call: &Operated, timeout: Duration) -> Result<Question> {
    let (now, connection) = (Instant::now(), turns.connection());
    match connection.submit_from_reader(&call.outgoing(), now)? {
        Some(id) => Ok(Question { id, until: now + timeout }),
        None => Err(Error::new(ErrorCode::BROKER_LOST, connection.ended_before())),
    }
}

fn finish(turns: &Turns) -> Phase {
    turns.connection().close(STOPPED);
    turns.end();
    Phase::Ended(Ok(()))
}

fn claim(connection: &Connection) -> Result<Box<Receiver>> {
    let text = "the connection is read by another thread";
    connection.claim().ok_or_else(|| Error::new(ErrorCode::INTERNAL, text))
}

pub(super) fn no_eventfd(error: io::Error) -> Error {
    Error::host("make an eventfd", error)
}

/// Whether to try again: while there is no broker, or one that is overloaded or still busy with the death of the old connection.
pub(crate) fn is_passing(error: &Error, since: Duration) -> bool {
    match error.code() {
        ErrorCode::UNAVAILABLE | ErrorCode::BROKER_LOST | ErrorCode::BUSY | ErrorCode::DEADLINE => true,
        ErrorCode::NAME_TAKEN => since < NAME_TAKEN_PATIENCE,
        _ => false,
    }
}

/// Why a connection was closed here.
pub(crate) const STOPPED: &str = "the service was stopped";
/// How long the calls that run at a stop may take to end.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// The broker answers both itself, so they take no time unless it hangs.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another owner of the name may be this service's own old connection.
const NAME_TAKEN_PATIENCE: Duration = Duration::from_secs(5);
