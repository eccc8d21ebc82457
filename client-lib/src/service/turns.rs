//! The turns of the reading thread on one connection: read, run what is quick, queue the rest, write.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Call, DESCRIBE, ErrorCode, Failure, Message, transport::Bell};

use super::{
    Context,
    call::Stamp,
    methods::{Place, Responder, Way, target},
    offer::Offer,
    unanswered::Unanswered,
    workers::{Task, Workers},
};
use crate::{
    cancel::CancelToken,
    client::Client,
    link::blocking::{Connection, Receiver},
    session::{Frames, Inbound, Loss},
    stream,
};

/// What all connections of a service have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) offer: Arc<Offer>,
    pub(super) workers: Arc<Workers>,
    pub(super) client: Client,
    /// Rings when the last call that runs was answered, while that is waited for.
    pub(super) idle: Bell,
}

/// One connection of a service, from registration to loss.
pub(super) struct Turns {
    common: Common,
    connection: Arc<Connection>,
    receiver: Box<Receiver>,
    /// Whether the connection knows the thread that reads.
    is_announced: bool,
    unanswered: Arc<Unanswered>,
    inbound: Vec<Inbound>,
    /// Answers of a turn, which leave together.
    answers: Frames,
    /// Of the caller in `context`.
    stamp: Stamp,
    /// The context of quick calls, one after the other.
    context: Context,
}

impl Turns {
    pub(super) fn new(common: &Common, connection: Arc<Connection>, receiver: Box<Receiver>) -> Self {
        let context = Context {
            caller: Arc::default(),
            deadline: Instant::now(),
            cancel: CancelToken::default(),
            client: common.client.clone(),
            connection: connection.clone(),
        };
        Self {
            common: common.clone(),
            connection,
            receiver,
            is_announced: false,
            unanswered: Arc::new(Unanswered::new(common.idle.clone())),
            inbound: Vec::new(),
            answers: Frames::default(),
            stamp: Stamp::default(),
            context,
        }
    }

    /// Reads once and answers what came.
    ///
    /// # Errors
    /// As [`Turns::read`].
    pub(super) fn turn(&mut self, bell: &Bell, until: Option<Instant>) -> Result<(), Loss> {
        let read = self.read(bell, until);
        self.answer();
        read
    }

    /// Waits for the broker until `bell` rings or the time comes, and reads once.
    ///
    /// # Errors
    /// The loss of the connection; what came before it is to be answered all the same.
    pub(super) fn read(&mut self, bell: &Bell, until: Option<Instant>) -> Result<(), Loss> {
        if !self.is_announced {
            self.connection.read_here();
            self.is_announced = true;
        }
        self.connection.turn(&mut self.receiver, &mut self.inbound, bell, until)
    }

    /// Answers what was read, or hands it to the pool.
    pub(super) fn answer(&mut self) {
        if self.inbound.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut inbound = mem::take(&mut self.inbound);
        for inbound in inbound.drain(..) {
            match inbound {
                Inbound::Call(call) => self.take(call, now),
                Inbound::Cancel(cancel) => self.unanswered.cancel(&self.connection, cancel.id, cancel.reason),
            }
        }
        self.inbound = inbound; // its room is used again
        self.flush();
    }

    /// The connection has ended: so have the calls that came over it.
    pub(super) fn end(&self) {
        self.unanswered.cancel_all(&self.connection, ErrorCode::BROKER_LOST);
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// From now on the bell rings when the last running call is answered.
    pub(super) fn watch_for_idle(&self) {
        self.unanswered.watch();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
    }

    fn take(&mut self, call: Call, now: Instant) {
        if !self.stamp.recognise(&call.caller, &mut self.context.caller) {
            let text = "the broker did not say who calls";
            return self.refuse(&call, ErrorCode::PROTOCOL, text);
        }
        if call.routing.method() == DESCRIBE.as_bytes() {
            return self.describe(&call);
        }
        let deadline = now + Duration::from_millis(u64::from(self.time_of(&call)));
        let Self { common, context, answers, .. } = self;
        let is_streamed = call.streams.any();
        match common.offer.methods.find(call.routing.method(), is_streamed) {
            Some(way) if way.is_streamed != is_streamed => {
                let text = not_its_kind(&call);
                self.refuse(&call, ErrorCode::INVALID, text);
            }
            Some(Way { place: Place::Here, answer, .. }) => {
                context.deadline = deadline;
                answer(&call, context, answers);
                self.flush_if_many();
            }
            Some(Way { place: Place::Pool, answer, .. }) => {
                let answer = answer.clone();
                self.hand_to_pool(call, answer, deadline);
            }
            None => {
                let text = no_method(&common.offer, &call);
                self.refuse(&call, ErrorCode::NO_METHOD, text);
            }
        }
    }

    /// The time that a call has left, in milliseconds.
    fn time_of(&self, call: &Call) -> u32 {
        if call.timeout_ms == 0 { self.connection.call_default_ms() } else { call.timeout_ms }
    }

    fn hand_to_pool(&mut self, call: Call, answer: Responder, deadline: Instant) {
        // The caller of a one-way call waits for nothing, and that of one with streams as long as anything comes.
        let ends = (!call.one_way && !call.streams.any()).then_some(deadline);
        let Some(cancel) = self.unanswered.enter(call.id, ends, self.common.offer.limit()) else {
            let text = format!("{} takes {} calls at once", target(&call), self.common.offer.window());
            return self.refuse(&call, ErrorCode::BUSY, text);
        };
        let client = self.common.client.bound_to(cancel.clone());
        let (connection, unanswered) = (self.connection.clone(), self.unanswered.clone());
        let caller = self.context.caller.clone();
        let context = Context { caller, deadline, cancel, client, connection: connection.clone() };
        self.common.workers.push(Task { call: detached(call), context, answer, connection, unanswered });
    }

    /// What the service says of itself. Answered here, so that no method has to end first.
    fn describe(&mut self, call: &Call) {
        let said = self.common.offer.said();
        let Some(description) = &said.description else {
            return self.refuse(call, ErrorCode::NO_METHOD, format!("{} says nothing of itself", service_of(call)));
        };
        self.answers.push_message(description.answer(call.id));
        self.flush_if_many();
    }

    fn refuse(&mut self, call: &Call, code: ErrorCode, text: impl Into<String>) {
        if call.streams.any() {
            drop(stream::Place::of_delivered(&self.connection, call)); // what still comes is ignored
        }
        self.answers.push_message(Message::Error(Failure::new(call.id, code, text)));
        self.flush_if_many();
    }

    fn flush_if_many(&mut self) {
        if self.answers.queued() >= ANSWERS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.answers.queued() > 0 {
            self.connection.answer(&mut self.answers);
        }
    }
}

/// What to say of a call that has streams and whose method takes none, or the other way round.
pub(crate) fn not_its_kind(call: &Call) -> String {
    let takes = if call.streams.any() { "takes no streams" } else { "takes only calls with streams" };
    format!("{} {takes}", target(call))
}

pub(crate) fn service_of(call: &Call) -> String {
    String::from_utf8_lossy(call.routing.service()).into_owned()
}

/// A call in memory of its own: one that runs for long must not pin the buffer that all calls are read into.
pub(crate) fn detached(mut call: Call) -> Call {
    call.caller = Bytes::new(); // read already
    call.detach();
    call
}

pub(crate) fn no_method<R>(offer: &Offer<R>, call: &Call) -> String {
    let service = String::from_utf8_lossy(call.routing.service()).into_owned();
    let names: Vec<String> = offer.methods.names().iter().map(ToString::to_string).filter(|n| !n.is_empty()).collect();
    match call.routing.method() {
        [] => format!("{service} has no default method (it has {})", names.join(", ")),
        method => format!("{service} has no method {} (it has {})", String::from_utf8_lossy(method), names.join(", ")),
    }
}

/// Bytes of replies that gather in a turn before they leave.
pub(crate) const ANSWERS: usize = 256 * 1024;
