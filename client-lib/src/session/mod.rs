//! One connection without its socket: which calls are under way, what is to be written, what came in. Knows no clock, thread or
//! descriptor; [`Connection`](crate::link::blocking::Connection) moves the bytes and wakes whoever waits.
//!
//! ```text
//! call, ping, answer, abandon -> outbox -> written(n)
//! receive(message)            -> slot ended | inbound call or cancel | closed
//! lost(loss)                  -> every slot ended, exactly once
//! ```
//!
//! Nothing the broker sends can end a call twice or panic here: an id that is not waited for is ignored, a message that makes no
//! sense is a [`Violation`], after which the driver ends the connection.

pub(crate) mod outgoing;
pub(crate) mod routes;
mod slots;

use std::{io, os::fd::BorrowedFd};

use bytes::Bytes;
use ipc_protocol::{
    Call, Cancel, ErrorCode, Failure, Goodbye, Hello, Message, Reply, Retry, Violation, Welcome,
    limits::MAX_BODY,
    transport::{Outbox, Pool},
};

pub(crate) use self::slots::CallId;
use self::slots::{Slot, SlotKind, Slots};
use crate::{error::Error, request::Response};

/// How a call ended.
pub(crate) type Outcome = Result<Response, Error>;

/// What a session is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Calls others; a call delivered to it is refused.
    Caller,
    /// Takes delivered calls too.
    Service,
}

/// Why a connection is no more.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// What calls that were under way end with.
    pub(crate) code: ErrorCode,
    /// What happened to the connection, as the start of a sentence.
    pub(crate) text: String,
    /// Whether what was written may have run.
    pub(crate) written: Retry,
}

/// What a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing that anybody waits for.
    Nothing,
    /// This call, or ping, has ended.
    Ended(CallId),
    /// All calls have ended, and the connection with them.
    Closed,
}

/// What the broker wants of a service.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A call to answer.
    Call(Call),
    /// Nobody waits for this call any more.
    Cancel(Cancel),
}

enum Phase {
    Open,
    /// The broker takes nothing more; what it sent before may still be on its way here.
    Unwritable,
    Ended(Loss),
}

/// One connection, without its socket.
pub(crate) struct Session {
    phase: Phase,
    /// Absent until the broker has answered hello: nothing but welcome and goodbye may come before.
    welcome: Option<Welcome>,
    role: Role,
    last_id: u64,
    slots: Slots,
    inbound: Vec<Inbound>,
    outbox: Outbox,
    pool: Pool,
    /// Bytes ever pushed to the outbox and bytes ever written from it: whether a frame left is a comparison.
    pushed: u64,
    written: u64,
}

impl Session {
    /// A session that starts with `hello`, which leaves together with the first calls.
    pub(crate) fn new(hello: Hello, role: Role) -> Self {
        let mut session = Self {
            phase: Phase::Open,
            welcome: None,
            role,
            last_id: 0,
            slots: Slots::default(),
            inbound: Vec::new(),
            outbox: Outbox::new(),
            pool: Pool::default(),
            pushed: 0,
            written: 0,
        };
        session.push(Message::Hello(hello));
        session
    }

    /// Starts a call, whose id is given here. `None` if the connection takes no more: the call has not left and may go to another.
    ///
    /// # Errors
    /// `too_large` if the broker would not take the body.
    pub(crate) fn call(&mut self, call: &mut Call) -> Result<Option<CallId>, Error> {
        let limit = self.max_body();
        if call.body.len() > limit as usize {
            let text = format!("the body has {} bytes, the limit is {limit}", call.body.len());
            return Err(Error::new(ErrorCode::TOO_LARGE, text));
        }
        let Some(id) = self.next_id() else { return Ok(None) };
        call.id = id.0;
        self.pushed += self.outbox.push_call(call, &mut self.pool) as u64;
        let kind = if call.one_way { SlotKind::OneWay } else { SlotKind::Call };
        self.slots.wait_for(id, kind, self.pushed);
        Ok(Some(id))
    }

    /// Starts a ping, which ends when everything sent before it has been dealt with. `None` as for [`Session::call`].
    pub(crate) fn ping(&mut self) -> Option<CallId> {
        let id = self.next_id()?;
        self.push(Message::Ping(id.0));
        self.slots.wait_for(id, SlotKind::Ping, self.pushed);
        Some(id)
    }

    /// Answers a delivered call, and tells after how many bytes the answer has left. Dropped when the connection is gone.
    pub(crate) fn answer(&mut self, answer: Message) -> u64 {
        self.push(answer);
        self.pushed
    }

    /// Takes how a call ended, once.
    pub(crate) fn take(&mut self, id: CallId) -> Option<Outcome> {
        self.slots.take(id)
    }

    /// Gives up waiting: the broker is told, and a reply that comes later is ignored. Tells how the call ended, if it had already.
    pub(crate) fn abandon(&mut self, id: CallId, reason: ErrorCode) -> Option<Outcome> {
        match self.slots.remove(id)? {
            Slot::Ended(outcome) => Some(outcome),
            Slot::Waiting { kind, .. } => {
                if kind == SlotKind::Call {
                    self.push(Message::Cancel(Cancel { id: id.0, reason }));
                }
                None
            }
        }
    }

    /// Takes back a call that ended because it could not be written, so that it may go to another connection.
    pub(crate) fn reclaim(&mut self, id: CallId) -> bool {
        self.slots.remove_if(id, |outcome| {
            matches!(outcome, Err(error) if error.code() == ErrorCode::BROKER_LOST && error.retry() == Retry::Safe)
        })
    }

    /// Takes a message of the broker.
    ///
    /// # Errors
    /// A [`Violation`], after which the connection must be given up with [`Session::lost`].
    pub(crate) fn receive(&mut self, message: Message) -> Result<Event, Violation> {
        if matches!(self.phase, Phase::Ended(_)) {
            return Ok(Event::Nothing);
        }
        match message {
            Message::Goodbye(goodbye) => Ok(self.closed_by(goodbye)),
            Message::Welcome(welcome) if self.welcome.is_none() => self.welcomed(welcome),
            early if self.welcome.is_none() => Err(unexpected(&early)),
            Message::Reply(Reply { id, encoding, body }) => {
                Ok(self.ended(id, SlotKind::Call, Ok(Response { encoding, body: body.into_bytes() })))
            }
            Message::Error(failure) => Ok(self.refused(failure)),
            Message::Pong(id) => Ok(self.ended(id, SlotKind::Ping, Ok(Response::bytes(Bytes::new())))),
            Message::Ping(id) => {
                self.push(Message::Pong(id));
                Ok(Event::Nothing)
            }
            Message::Call(call) => {
                self.delivered(call);
                Ok(Event::Nothing)
            }
            Message::Cancel(cancel) => {
                if self.role == Role::Service {
                    self.inbound.push(Inbound::Cancel(cancel));
                }
                Ok(Event::Nothing)
            }
            wrong => Err(unexpected(&wrong)),
        }
    }

    /// A reply was over the limit and is skipped: its call ends, the connection lives on.
    pub(crate) fn receive_too_large(&mut self, id: u64) -> Event {
        let text = format!("the reply is over the limit of {MAX_BODY} bytes");
        self.ended(id, SlotKind::Call, Err(Error::new(ErrorCode::TOO_LARGE, text).with_retry(Retry::Unknown)))
    }

    /// Tells the broker which violation ends the connection; not in the middle of another frame.
    pub(crate) fn say_goodbye(&mut self, violation: &Violation) {
        if self.outbox.is_empty() {
            self.push(Message::Goodbye(Goodbye { code: ErrorCode::PROTOCOL, text: violation.to_string() }));
        }
    }

    /// The broker takes nothing more: what was not written in full ends as never sent. What it answered before is still read.
    pub(crate) fn unwritable(&mut self, text: &str) {
        if !self.takes_more() {
            return;
        }
        self.outbox.discard(&mut self.pool);
        let written = self.written;
        self.slots.end_where(|end| end > written, |_| not_sent(text));
        self.phase = Phase::Unwritable;
    }

    /// The connection is gone: every call ends here, exactly once. The first loss stays.
    pub(crate) fn lost(&mut self, loss: Loss) {
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        self.outbox.discard(&mut self.pool);
        let written = self.written;
        self.slots.end_where(
            |_| true,
            |end| match loss.written {
                Retry::Unknown if end > written => not_sent(&loss.text),
                Retry::Unknown => {
                    let text = format!("{} before the answer came; the call may have run", loss.text);
                    Error::new(loss.code, text).with_retry(Retry::Unknown)
                }
                Retry::Safe => Error::new(loss.code, loss.text.clone()).with_retry(Retry::Safe),
            },
        );
        self.phase = Phase::Ended(loss);
    }

    /// Writes what is queued, as far as the socket takes it.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub(crate) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let before = self.outbox.len();
        let flushed = self.outbox.flush(socket, &mut self.pool);
        self.written += (before - self.outbox.len()) as u64;
        flushed.map(|_| ())
    }

    /// Calls and cancels that were delivered, in order. `room` becomes the next list.
    pub(crate) fn take_inbound(&mut self, room: &mut Vec<Inbound>) {
        std::mem::swap(&mut self.inbound, room);
    }

    /// Bytes that wait to be written.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Whether everything up to this point has left, or never will.
    pub(crate) fn has_left(&self, end: u64) -> bool {
        self.written >= end || !self.takes_more()
    }

    /// Whether a call waits whose frame has not left in full.
    pub(crate) fn is_unsent(&self, id: CallId) -> bool {
        self.slots.end_of(id).is_some_and(|end| !self.has_left(end))
    }

    /// Where the outbox ends now: what [`Session::has_left`] wants to know of a frame just pushed.
    pub(crate) fn end(&self) -> u64 {
        self.pushed
    }

    /// Whether the connection takes more calls.
    pub(crate) fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Why the connection is gone, if it is.
    pub(crate) fn loss(&self) -> Option<&Loss> {
        match &self.phase {
            Phase::Ended(loss) => Some(loss),
            Phase::Open | Phase::Unwritable => None,
        }
    }

    /// What the broker said at the start, once it has.
    pub(crate) fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    fn max_body(&self) -> u32 {
        self.welcome.as_ref().map_or(MAX_BODY, |welcome| welcome.max_body.min(MAX_BODY))
    }

    fn next_id(&mut self) -> Option<CallId> {
        if !self.takes_more() {
            return None;
        }
        self.last_id += 1;
        Some(CallId(self.last_id))
    }

    fn push(&mut self, message: Message) {
        if self.takes_more() {
            self.pushed += self.outbox.push(message, &mut self.pool) as u64;
        }
    }

    fn welcomed(&mut self, welcome: Welcome) -> Result<Event, Violation> {
        let spoken = ipc_protocol::Versions::SUPPORTED.highest;
        if welcome.version != spoken {
            return Err(Violation::Version { found: welcome.version, spoken });
        }
        self.welcome = Some(welcome);
        Ok(Event::Nothing)
    }

    /// Before welcome a goodbye is a refusal of the connection: nothing has run. Afterwards it is a loss with a reason.
    fn closed_by(&mut self, Goodbye { code, text }: Goodbye) -> Event {
        let refused = self.welcome.is_none();
        self.lost(if refused {
            Loss { code, text: format!("the broker refused the connection: {text}"), written: Retry::Safe }
        } else {
            let text = format!("the broker closed the connection ({code}: {text})");
            Loss { code: ErrorCode::BROKER_LOST, text, written: Retry::Unknown }
        });
        Event::Closed
    }

    fn refused(&mut self, failure: Failure) -> Event {
        let id = CallId(failure.id);
        let error = Err(Error::from(failure));
        if self.slots.end(id, &[SlotKind::Call, SlotKind::OneWay], error) { Event::Ended(id) } else { Event::Nothing }
    }

    fn ended(&mut self, id: u64, kind: SlotKind, outcome: Outcome) -> Event {
        if self.slots.end(CallId(id), &[kind], outcome) { Event::Ended(CallId(id)) } else { Event::Nothing }
    }

    fn delivered(&mut self, call: Call) {
        match self.role {
            Role::Service => self.inbound.push(Inbound::Call(call)),
            Role::Caller => {
                let failure = Failure::new(call.id, ErrorCode::NO_METHOD, "this process answers no calls");
                self.push(Message::Error(failure));
            }
        }
    }
}

fn not_sent(text: &str) -> Error {
    Error::new(ErrorCode::BROKER_LOST, format!("{text} before the call was sent")).with_retry(Retry::Safe)
}

fn unexpected(message: &Message) -> Violation {
    Violation::UnexpectedKind(message.kind())
}

#[cfg(test)]
mod tests;
