//! One connection without its socket: which calls are under way, what is to be written, what came in. It knows no clock, thread or
//! descriptor: a [link](crate::link) tells it the time, moves its bytes and wakes the waiting.
//!
//! ```text
//! call, ping, answer, abandon -> poll_transmit -> bytes -> transmitted(n)
//! receive(inbox)                       -> a call has ended | a call or cancel for a service | the connection has ended
//! lost(loss)                           -> every call has ended, exactly once
//! ```
//!
//! Nothing the broker sends can end a call twice or panic here: an id that is not waited for is ignored, a message that makes no
//! sense is a [`Violation`], after which the link ends the connection.
//!
//! # Writing another link
//! [`link::blocking`](crate::link::blocking) is one; an asynchronous one needs nothing from here that is not there. It owns a
//! socket and an [`Inbox`], calls [`Session::receive`] after each read and [`Session::poll_transmit`] after everything else, keeps
//! a waker for each [`Serial`], and takes an end with [`Session::take`]. How a typed call is encoded, and encoded again for a
//! service that takes JSON alone, is in [`typed`]. Events come out of `receive` as ends of calls do: it names the [`Serial`] of the call
//! that asked for them, and [`Session::take_event`] has them.

mod feed;
mod feeds;
mod flow;
mod flowing;
mod flows;
mod frames;
mod last_call;
pub(crate) mod outgoing;
pub(crate) mod patience;
pub(crate) mod routes;
mod slots;
mod subscribing;
pub(crate) mod typed;

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use ipc_protocol::{
    Call, Cancel, ErrorCode, Failure, Flags, Goodbye, Header, Hello, Incoming, Kind, Message, Reply, Retry, Violation,
    Welcome,
    limits::{DEFAULT_TIMEOUT_MS, MAX_BODY},
    transport::Inbox,
};

pub(crate) use self::{
    feed::{Keep, Taken},
    flow::Flowed,
    flows::Sending,
    frames::{Frames, Payload},
    outgoing::{Answer, Outgoing, What},
    patience::Patience,
    slots::{Outcome, Serial},
};
use self::{
    feeds::Feeds,
    flows::Flows,
    last_call::LastCall,
    slots::{Slot, SlotKind, Slots, Waiting},
};
use crate::{error::Error, request::Response};

/// What a session is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Calls others; a call delivered to it is refused.
    Caller,
    /// Takes delivered calls too.
    Service,
}

/// Why a connection has ended.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// What calls that were under way end with.
    pub(crate) code: ErrorCode,
    /// What happened to the connection: the start of a sentence.
    pub(crate) text: String,
    /// Whether what was written may have run.
    pub(crate) written: Retry,
}

/// What a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// No call has ended.
    Nothing,
    /// This call, or ping, has ended; or this subscription has something to tell.
    Ended(Serial),
    /// A call with streams has ended: for the thread that takes its items, and for the one that sends.
    BothEnded(Serial, Serial),
    /// All calls have ended, and the connection with them.
    Closed,
}

/// What the broker wants of a service.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A call to answer.
    Call(Call),
    /// The caller of this call has stopped waiting.
    Cancel(Cancel),
}

enum Standing {
    Open,
    /// The broker takes nothing more; what it sent before may still be on its way here.
    Unwritable,
    Ended(Loss),
}

/// One connection, without its socket.
pub(crate) struct Session {
    standing: Standing,
    /// Absent until the broker has answered hello: nothing but welcome and goodbye may come before.
    welcome: Option<Welcome>,
    role: Role,
    last_id: u64,
    slots: Slots,
    inbound: Vec<Inbound>,
    last_call: LastCall,
    feeds: Feeds,
    flows: Flows,
    transmit: Frames,
    /// Calls started since something was last received: each may bring a frame back.
    unread_ends: usize,
    /// When what came meanwhile is read before the next call: some time after the last one.
    stale_at: Instant,
}

impl Session {
    /// A session that starts with `hello`, which leaves together with the first calls.
    pub(crate) fn new(hello: Hello, role: Role, now: Instant) -> Self {
        let mut session = Self {
            standing: Standing::Open,
            welcome: None,
            role,
            last_id: 0,
            slots: Slots::default(),
            inbound: Vec::new(),
            last_call: LastCall::default(),
            feeds: Feeds::default(),
            flows: Flows::default(),
            transmit: Frames::default(),
            unread_ends: 0,
            stale_at: now + PAUSE,
        };
        session.push(Message::Hello(hello));
        session
    }

    /// Whether to read before the next call is started: after a pause the broker may have said goodbye, and the replies to a crowd
    /// of calls must not pile up on its side.
    pub(crate) fn is_behind(&self, now: Instant) -> bool {
        self.is_crowded() || self.is_stale(now)
    }

    /// Whether that is because of the replies to a crowd of calls.
    pub(crate) fn is_crowded(&self) -> bool {
        self.unread_ends >= CROWD
    }

    /// Whether that is because of a pause.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now > self.stale_at
    }

    /// Whether no call was started, but the last, since something was received.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_quiet(&self) -> bool {
        self.unread_ends <= 1
    }

    /// Starts a call, or publishes an event. One that wants no reply is paired with a ping: it ends when the broker refuses it, or has
    /// dealt with it. `None` if the connection takes no more: the call has not left and may go to another.
    ///
    /// # Errors
    /// `too_large` if the broker would not take the body.
    pub(crate) fn call(&mut self, now: Instant, call: &Outgoing<'_>) -> Result<Option<Serial>, Error> {
        let limit = self.max_body();
        let body_len = u32::try_from(call.body.len()).ok().filter(|len| *len <= limit);
        let Some(body_len) = body_len else {
            let text = format!("the body has {} bytes, the limit is {limit}", call.body.len());
            return Err(Error::new(ErrorCode::TOO_LARGE, text));
        };
        let Some(id) = self.next_id() else { return Ok(None) };
        self.stale_at = now + PAUSE;
        self.unread_ends += 1;
        let (kind, flags) = match call.answer {
            Answer::Wanted => (SlotKind::Call, Flags::NONE),
            Answer::Unwanted | Answer::Unheard => (SlotKind::OneWay, Flags::ONE_WAY),
        };
        let header = match call.what {
            What::Call => Header { time_ms: call.timeout_ms, flags, ..Header::new(Kind::CALL, id.0) },
            What::Subscribe(keep) => {
                self.feeds.ask(id, keep);
                Header { time_ms: call.timeout_ms, flags, ..Header::new(Kind::CALL, id.0) }
            }
            What::Stream(streams) => {
                let flag = |is_set: bool, flag: Flags| if is_set { flag } else { Flags::NONE };
                let flags = flags.with(flag(streams.request, Flags::REQUEST_STREAM));
                let flags = flags.with(flag(streams.reply, Flags::REPLY_STREAM));
                Header { time_ms: call.timeout_ms, flags, ..Header::new(Kind::CALL, id.0) }
            }
            What::Event { retained: false } => Header { flags, ..Header::new(Kind::EVENT, id.0) },
            What::Event { retained: true } => {
                Header { flags: flags.with(Flags::RETAINED), ..Header::new(Kind::EVENT, id.0) }
            }
        };
        let routing = call.routing.raw();
        let routing_len = u16::try_from(routing.len()).expect("a routing section is built within MAX_ROUTING");
        let header = Header { encoding: call.encoding, routing_len, body_len, ..header };
        self.transmit.push(&header, routing, call.body.clone());
        self.slots.wait_for(id, Waiting { kind, end: self.transmit.pushed(), parent: call.parent });
        if let What::Stream(streams) = call.what {
            self.open_flow(id, streams);
        }
        if call.answer == Answer::Unwanted
            && let Some(ping) = self.next_id()
        {
            self.push(Message::Ping(ping.0));
        }
        Ok(Some(id))
    }

    /// Starts a ping, which ends when everything sent before it has been dealt with. `None` as for [`Session::call`].
    pub(crate) fn ping(&mut self) -> Option<Serial> {
        let id = self.next_id()?;
        self.push(Message::Ping(id.0));
        self.slots.wait_for(id, Waiting { kind: SlotKind::Ping, end: self.transmit.pushed(), parent: None });
        Some(id)
    }

    /// Answers delivered calls, and tells after how many bytes the answers have left. Dropped when the connection has ended.
    pub(crate) fn answer(&mut self, answers: &mut Frames) -> u64 {
        if self.takes_more() {
            self.transmit.append(answers);
        } else {
            answers.discard();
        }
        self.transmit.pushed()
    }

    /// Takes how a call ended, once.
    pub(crate) fn take(&mut self, id: Serial) -> Option<Outcome> {
        self.slots.take(id)
    }

    /// Gives up waiting: the broker is told, and a reply that comes later is ignored. Tells how the call ended, if it had already.
    pub(crate) fn abandon(&mut self, id: Serial, reason: ErrorCode) -> Option<Outcome> {
        match self.slots.remove(id)? {
            Slot::Ended(outcome) => Some(outcome),
            Slot::Waiting(waiting) => {
                if waiting.kind == SlotKind::Call {
                    self.push(Message::Cancel(Cancel { id: id.0, reason, delivered: None }));
                }
                None
            }
        }
    }

    /// Ends the calls that were made on behalf of a delivered call, which has ended itself; the broker is told. `ended` is called
    /// with each of them.
    pub(crate) fn end_nested(&mut self, parent: NonZeroU64, reason: ErrorCode, mut ended: impl FnMut(Serial)) {
        let nested = self.slots.waiting_for_parent(parent);
        for id in nested {
            self.push(Message::Cancel(Cancel { id: id.0, reason, delivered: None }));
            let text = "the call that this one was made for has ended";
            self.slots.end(id, &[SlotKind::Call], Err(Error::new(reason, text).with_retry(Retry::Unknown)));
            ended(id);
            let sender = self.note_end(id);
            if sender != id {
                ended(sender);
            }
        }
    }

    /// Takes back a call that ended because it could not be written, so that it may go to another connection.
    pub(crate) fn reclaim(&mut self, id: Serial) -> bool {
        self.slots.remove_if(id, |outcome| {
            matches!(outcome, Err(error) if error.code() == ErrorCode::BROKER_LOST && error.retry() == Retry::Safe)
        })
    }

    /// Takes what was read: `ended` is called with each call that has ended. Whether the connection has ended too, says
    /// [`Session::loss`].
    ///
    /// # Errors
    /// A [`Violation`]. What there is to send now tells the broker so; after that the connection must be given up with
    /// [`Session::lost`].
    pub(crate) fn receive(&mut self, inbox: &mut Inbox, mut ended: impl FnMut(Serial)) -> Result<(), Violation> {
        self.unread_ends = 0;
        loop {
            let event = match inbox.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Incoming::Frame(frame))) => {
                    self.last_call.decode(frame).and_then(|message| self.apply(message))
                }
                Ok(Some(Incoming::TooLarge(header))) => Ok(self.skipped(&header)),
                Ok(Some(Incoming::Begun(_))) => {
                    inbox.decoder().assemble(); // bounded by MAX_BODY, and there is one inbox
                    Ok(Effect::Nothing)
                }
                Err(violation) => Err(violation),
            };
            match event {
                Ok(Effect::Nothing | Effect::Closed) => {}
                Ok(Effect::Ended(id)) => ended(id),
                Ok(Effect::BothEnded(receiver, sender)) => {
                    ended(receiver);
                    ended(sender);
                }
                Err(violation) => {
                    self.say_goodbye(&violation);
                    return Err(violation);
                }
            }
        }
    }

    /// Takes a message of the broker.
    fn apply(&mut self, message: Message) -> Result<Effect, Violation> {
        if matches!(self.standing, Standing::Ended(_)) {
            return Ok(Effect::Nothing);
        }
        match message {
            Message::Goodbye(goodbye) => Ok(self.closed_by(goodbye)),
            Message::Welcome(welcome) if self.welcome.is_none() => self.welcomed(welcome),
            early if self.welcome.is_none() => Err(unexpected(&early)),
            Message::Reply(Reply { id, encoding, body }) => {
                let response = Response { encoding, body: body.into_bytes() };
                self.subscribed(id, &response);
                Ok(self.ended(id, SlotKind::Call, Ok(response)))
            }
            Message::Error(failure) => Ok(self.refused(failure)),
            Message::Pong(id) => Ok(self.answered_ping(id)),
            Message::Ping(id) => {
                self.push(Message::Pong(id));
                Ok(Effect::Nothing)
            }
            Message::Call(call) => {
                self.delivered(call);
                Ok(Effect::Nothing)
            }
            Message::Cancel(cancel) => {
                if self.role == Role::Service {
                    self.inbound.push(Inbound::Cancel(cancel));
                }
                Ok(self.flow_cancelled(cancel.id, cancel.reason, cancel.delivered))
            }
            Message::Item(item) => Ok(self.item_came(item)),
            Message::Credit(credit) => Ok(self.credit_came(credit)),
            Message::End(end) => Ok(self.end_came(end)),
            Message::Event(event) => Ok(told(self.feeds.push(event))),
            Message::Gap(gap) => Ok(told(self.feeds.lose(gap.id, gap.lost))),
            wrong => Err(unexpected(&wrong)),
        }
    }

    /// The broker takes nothing more: what was not written in full ends as never sent. What it answered before is still read.
    pub(crate) fn unwritable(&mut self, text: &str) {
        if !self.takes_more() {
            return;
        }
        self.slots.end_where(|end| !self.transmit.has_left(end), |_| not_sent(text));
        self.transmit.discard();
        self.standing = Standing::Unwritable;
    }

    /// The connection is gone: every call ends here, exactly once. The first loss stays.
    pub(crate) fn lost(&mut self, loss: Loss) {
        if matches!(self.standing, Standing::Ended(_)) {
            return;
        }
        self.slots.end_where(
            |_| true,
            |end| match loss.written {
                Retry::Unknown if !self.transmit.has_left(end) => not_sent(&loss.text),
                Retry::Unknown => {
                    let text = format!("{} before the answer came", loss.text);
                    Error::new(loss.code, text).with_retry(Retry::Unknown)
                }
                Retry::Safe => Error::new(loss.code, loss.text.clone()).with_retry(Retry::Safe),
            },
        );
        self.transmit.discard();
        self.standing = Standing::Ended(loss);
    }

    /// The next bytes to write, `None` if there are none. Tell what became of them with [`Session::transmitted`].
    pub(crate) fn poll_transmit(&self) -> Option<&[u8]> {
        self.transmit.next()
    }

    /// What lies behind the bytes of [`Session::poll_transmit`], if both may leave with one write. Often empty.
    pub(crate) fn transmit_behind(&self) -> &[u8] {
        self.transmit.behind()
    }

    /// The first `len` of the bytes that [`Session::poll_transmit`] gave, and of those behind, were written.
    pub(crate) fn transmitted(&mut self, len: usize) {
        self.transmit.written(len);
    }

    /// Calls and cancels that were delivered, in order. `room` becomes the next list.
    pub(crate) fn take_inbound(&mut self, room: &mut Vec<Inbound>) {
        std::mem::swap(&mut self.inbound, room);
    }

    /// Whether something was delivered that was not taken.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_inbound(&self) -> bool {
        !self.inbound.is_empty()
    }

    /// Bytes that wait to be written.
    pub(crate) fn unsent(&self) -> usize {
        self.transmit.queued()
    }

    /// Whether everything up to this point has left, or never will.
    pub(crate) fn has_left(&self, end: u64) -> bool {
        self.transmit.has_left(end) || !self.takes_more()
    }

    /// Whether a call waits whose frame has not left in full.
    pub(crate) fn is_unsent(&self, id: Serial) -> bool {
        self.slots.end_of(id).is_some_and(|end| !self.has_left(end))
    }

    /// Where the queue ends now: what [`Session::has_left`] wants to know of a frame just pushed.
    pub(crate) fn end(&self) -> u64 {
        self.transmit.pushed()
    }

    /// When a call is given up here, should the broker not keep its deadline. Later than before once welcome has come, if the
    /// broker's default is longer than the usual one.
    pub(crate) fn until(&self, patience: Patience) -> Instant {
        patience.until(self.call_default_ms())
    }

    /// Deadline of a call that names none, in milliseconds.
    pub(crate) fn call_default_ms(&self) -> u32 {
        self.welcome.as_ref().map_or(DEFAULT_TIMEOUT_MS, |welcome| welcome.call_default_ms)
    }

    /// Whether the connection takes more calls.
    pub(crate) fn takes_more(&self) -> bool {
        matches!(self.standing, Standing::Open)
    }

    /// Why the connection is gone, if it is.
    pub(crate) fn loss(&self) -> Option<&Loss> {
        match &self.standing {
            Standing::Ended(loss) => Some(loss),
            Standing::Open | Standing::Unwritable => None,
        }
    }

    /// What the broker said at the start, once it has.
    pub(crate) fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    fn max_body(&self) -> u32 {
        self.welcome.as_ref().map_or(MAX_BODY, |welcome| welcome.max_body.min(MAX_BODY))
    }

    fn next_id(&mut self) -> Option<Serial> {
        if !self.takes_more() {
            return None;
        }
        self.last_id += 1;
        Some(Serial(self.last_id))
    }

    fn push(&mut self, message: Message) {
        if self.takes_more() {
            self.transmit.push_message(message);
        }
    }

    /// A frame whose body is over the limit was skipped: its call ends, the connection lives on.
    fn skipped(&mut self, header: &Header) -> Effect {
        match header.kind {
            Kind::REPLY | Kind::ERROR => {
                let text = format!("the reply is over the limit of {MAX_BODY} bytes");
                let error = Error::new(ErrorCode::TOO_LARGE, text).with_retry(Retry::Unknown);
                self.ended(header.id, SlotKind::Call, Err(error))
            }
            Kind::CALL => {
                let failure = Failure::new(header.id, ErrorCode::TOO_LARGE, "the body is over the limit");
                self.push(Message::Error(failure));
                Effect::Nothing
            }
            Kind::EVENT => told(self.feeds.lose(header.id, 1)),
            _ => Effect::Nothing,
        }
    }

    /// Tells the broker which violation ends the connection; not in the middle of another frame.
    fn say_goodbye(&mut self, violation: &Violation) {
        if self.transmit.queued() == 0 {
            self.push(Message::Goodbye(Goodbye { code: ErrorCode::PROTOCOL, text: violation.to_string() }));
        }
    }

    fn welcomed(&mut self, welcome: Welcome) -> Result<Effect, Violation> {
        let spoken = ipc_protocol::Versions::SUPPORTED.highest;
        if welcome.version != spoken {
            return Err(Violation::Version { found: welcome.version, spoken });
        }
        self.welcome = Some(welcome);
        Ok(Effect::Nothing)
    }

    /// Before welcome a goodbye is a refusal of the connection: nothing has run. Afterwards it is a loss with a reason.
    fn closed_by(&mut self, Goodbye { code, text }: Goodbye) -> Effect {
        let refused = self.welcome.is_none();
        self.lost(if refused {
            Loss { code, text: format!("the broker refused the connection: {text}"), written: Retry::Safe }
        } else {
            let text = format!("the broker closed the connection ({code}: {text})");
            Loss { code: ErrorCode::BROKER_LOST, text, written: Retry::Unknown }
        });
        Effect::Closed
    }

    fn refused(&mut self, failure: Failure) -> Effect {
        let id = Serial(failure.id);
        self.feeds.refuse(id);
        let error = Err(Error::from(failure));
        let has_ended = self.slots.end(id, &[SlotKind::Call, SlotKind::OneWay], error);
        self.with_sender(if has_ended { Effect::Ended(id) } else { Effect::Nothing })
    }

    fn ended(&mut self, id: u64, kind: SlotKind, outcome: Outcome) -> Effect {
        let has_ended = self.slots.end(Serial(id), &[kind], outcome);
        self.with_sender(if has_ended { Effect::Ended(Serial(id)) } else { Effect::Nothing })
    }

    /// A pong ends its ping, or the one-way call that the ping was sent behind: the broker has taken it.
    fn answered_ping(&mut self, id: u64) -> Effect {
        match self.ended(id, SlotKind::Ping, Ok(Response::empty())) {
            Effect::Nothing => self.ended(id.wrapping_sub(1), SlotKind::OneWay, Ok(Response::empty())),
            ended => ended,
        }
    }

    fn delivered(&mut self, call: Call) {
        match self.role {
            Role::Service => {
                if call.streams.any() {
                    self.open_delivered_flow(call.id, call.streams);
                }
                self.inbound.push(Inbound::Call(call));
            }
            Role::Caller => {
                let failure = Failure::new(call.id, ErrorCode::NO_METHOD, "this process answers no calls");
                self.push(Message::Error(failure));
            }
        }
    }
}

/// Events came for the subscription that this call asked for, if they are still wanted.
fn told(id: Option<Serial>) -> Effect {
    id.map_or(Effect::Nothing, Effect::Ended)
}

fn not_sent(text: &str) -> Error {
    Error::new(ErrorCode::BROKER_LOST, format!("{text} before the call was sent")).with_retry(Retry::Safe)
}

fn unexpected(message: &Message) -> Violation {
    Violation::UnexpectedKind(message.kind())
}

/// After so long without a call, what came meanwhile is read before the next.
const PAUSE: Duration = Duration::from_millis(100);
/// After this number of calls without a read, replies are read before the next call, because the broker cuts a peer that does not
/// read.
pub(crate) const CROWD: usize = 256;

#[cfg(test)]
mod tests;
