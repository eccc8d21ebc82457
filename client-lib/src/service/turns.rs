//! The turns of the reading thread on one connection: read, run what is quick, queue the rest, write.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Call, ErrorCode, Failure, Identity, Message, limits::DEFAULT_TIMEOUT_MS};

use super::{
    Caller, Context,
    methods::{Pooled, Way, target},
    offer::Offer,
    pool::{Job, Pool},
    running::Running,
};
use crate::{
    client::Client,
    link::blocking::{Connection, Receiver},
    session::{Inbound, Loss},
};

/// One connection of a service, from registration to loss.
pub(super) struct Turns<'a> {
    pub(super) offer: &'a Offer,
    pub(super) pool: &'a Pool,
    pub(super) client: &'a Client,
    pub(super) connection: Arc<Connection>,
    pub(super) running: Arc<Running>,
    answers: Answers,
    last_caller: LastCaller,
}

/// The caller of the last call, by its stamp: most calls have the same as the one before, and reading a stamp allocates.
#[derive(Default)]
struct LastCaller(Option<(Box<[u8]>, Arc<Caller>)>);

/// Answers of a turn, which leave together.
#[derive(Default)]
struct Answers {
    messages: Vec<Message>,
    bytes: usize,
}

impl<'a> Turns<'a> {
    pub(super) fn new(
        offer: &'a Offer,
        pool: &'a Pool,
        client: &'a Client,
        connection: Arc<Connection>,
        running: Arc<Running>,
    ) -> Self {
        Self {
            offer,
            pool,
            client,
            connection,
            running,
            answers: Answers::default(),
            last_caller: LastCaller::default(),
        }
    }

    /// Serves until the connection is lost.
    pub(super) fn run(mut self, receiver: &mut Receiver) -> Loss {
        self.connection.read_here();
        let mut inbound = Vec::new();
        let loss = loop {
            if let Err(loss) = self.connection.turn(receiver, &mut inbound) {
                break loss;
            }
            if inbound.is_empty() {
                continue;
            }
            let now = Instant::now();
            for inbound in inbound.drain(..) {
                match inbound {
                    Inbound::Call(call) => self.take(call, now),
                    Inbound::Cancel(cancel) => self.running.cancel(cancel.id, cancel.reason),
                }
            }
            self.flush();
        };
        self.running.cancel_all(ErrorCode::BROKER_LOST);
        loss
    }

    fn take(&mut self, call: Call, now: Instant) {
        let offer = self.offer;
        let Some(caller) = self.last_caller.of(&call.caller) else {
            let text = "the broker did not say who calls";
            return self.answer(Message::Error(Failure::new(call.id, ErrorCode::PROTOCOL, text)));
        };
        match offer.methods.find(call.routing.method()) {
            Some(Way::Quick(quick)) => {
                let answer = quick(&call, caller);
                self.answer(answer);
            }
            Some(Way::Pooled(answer)) => {
                let caller = caller.clone();
                self.hand_to_pool(call, caller, answer.clone(), now);
            }
            None => {
                let failure = Failure::new(call.id, ErrorCode::NO_METHOD, no_method(offer, &call));
                self.answer(Message::Error(failure));
            }
        }
    }

    fn hand_to_pool(&mut self, call: Call, caller: Arc<Caller>, answer: Pooled, now: Instant) {
        let Some(cancel) = self.running.enter(call.id, self.offer.limit()) else {
            let text = format!("{} takes {} calls at once", target(&call), self.offer.window);
            return self.answer(Message::Error(Failure::new(call.id, ErrorCode::BUSY, text)));
        };
        let left = if call.timeout_ms == 0 { DEFAULT_TIMEOUT_MS } else { call.timeout_ms };
        let deadline = now + Duration::from_millis(u64::from(left));
        let context = Context { caller, deadline, cancel, client: self.client.clone() };
        let (connection, running) = (self.connection.clone(), self.running.clone());
        self.pool.push(Job { call: detached(call), context, answer, connection, running });
    }

    fn answer(&mut self, answer: Message) {
        self.answers.bytes += match &answer {
            Message::Reply(reply) => reply.body.len(),
            Message::Error(failure) => failure.body.len(),
            _ => 0,
        };
        self.answers.messages.push(answer);
        if self.answers.bytes >= ANSWERS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.answers.messages.is_empty() {
            self.connection.answer(&mut self.answers.messages);
            self.answers.bytes = 0;
        }
    }
}

impl LastCaller {
    /// Who a stamp says it is; `None` if it is none.
    fn of(&mut self, stamp: &[u8]) -> Option<&Arc<Caller>> {
        if !matches!(&self.0, Some((last, _)) if **last == *stamp) {
            let (identity, peer) = Identity::from_stamp(stamp).ok()?;
            self.0 = Some((stamp.into(), Arc::new(Caller { identity, peer })));
        }
        self.0.as_ref().map(|(_, caller)| caller)
    }
}

/// A call in memory of its own: one that runs for long must not pin the buffer that all calls are read into.
fn detached(mut call: Call) -> Call {
    call.caller = Bytes::new(); // read already
    call.detach();
    call
}

fn no_method(offer: &Offer, call: &Call) -> String {
    let service = String::from_utf8_lossy(call.routing.service()).into_owned();
    let names: Vec<String> = offer.methods.names().iter().map(ToString::to_string).filter(|n| !n.is_empty()).collect();
    match call.routing.method() {
        [] => format!("{service} has no default method (it has {})", names.join(", ")),
        method => format!("{service} has no method {} (it has {})", String::from_utf8_lossy(method), names.join(", ")),
    }
}

/// Bytes of replies that gather in a turn before they leave.
const ANSWERS: usize = 256 * 1024;
