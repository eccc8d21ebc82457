//! The calls that a service was given on one connection and has not answered.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    num::NonZeroU64,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ipc_protocol::{Call, DESCRIBE, ErrorCode, Failure, Message};
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    answering::{Answer, Answering, refused},
    context::AsyncContext,
};
use crate::{
    aio::{calls::Scope, client::AsyncClient, stream::Place},
    link::tokio::Connection,
    service::{ANSWERS, Offer, Stamp, detached, no_method, not_its_kind, service_of, target},
    session::{Frames, Inbound, Patience},
};

/// One connection of a service, from registration to loss. Dropping it drops the futures of the calls.
pub(super) struct Running {
    offer: Arc<Offer<Answer>>,
    client: AsyncClient,
    pub(super) connection: Arc<Connection>,
    /// Each ends with the broker's number of its call.
    tasks: JoinSet<u64>,
    /// What tells a call that its caller has stopped waiting.
    cancels: HashMap<u64, oneshot::Sender<ErrorCode>>,
    inbound: Vec<Inbound>,
    /// Answers of a turn, which leave together.
    answers: Frames,
    /// Of the caller in `context`.
    stamp: Stamp,
    /// The context of quick calls, one after the other.
    context: AsyncContext,
}

impl Running {
    pub(super) fn new(offer: &Arc<Offer<Answer>>, client: &AsyncClient, connection: Arc<Connection>) -> Self {
        let context = AsyncContext {
            caller: Arc::default(),
            deadline: Instant::now(),
            client: client.clone(),
            connection: connection.clone(),
        };
        Self {
            offer: offer.clone(),
            client: client.clone(),
            connection,
            tasks: JoinSet::new(),
            cancels: HashMap::new(),
            inbound: Vec::new(),
            answers: Frames::default(),
            stamp: Stamp::default(),
            context,
        }
    }

    /// Begins the calls that come, and ends those whose callers have gone. Ready with the loss of the connection.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<crate::session::Loss> {
        loop {
            while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(context) {
                match ended {
                    Ok(id) => drop(self.cancels.remove(&id)),
                    Err(_) => self.cancels.retain(|_, cancel| !cancel.is_closed()), // it was aborted
                }
            }
            let mut inbound = std::mem::take(&mut self.inbound);
            let polled = self.connection.poll_inbound(context, &mut inbound);
            let now = Instant::now();
            for inbound in inbound.drain(..) {
                match inbound {
                    Inbound::Call(call) => self.take(call, now),
                    Inbound::Cancel(cancel) => {
                        if let Some(cancelled) = self.cancels.remove(&cancel.id) {
                            let _ = cancelled.send(cancel.reason); // it may have ended meanwhile
                        }
                    }
                }
            }
            self.inbound = inbound; // its room is used again
            self.flush();
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(loss)) => return Poll::Ready(loss),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether no call runs.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    fn take(&mut self, call: Call, now: Instant) {
        if !self.stamp.recognise(&call.caller, &mut self.context.caller) {
            return self.refuse(&call, ErrorCode::PROTOCOL, "the broker did not say who calls");
        }
        if call.routing.method() == DESCRIBE.as_bytes() {
            return self.describe(&call);
        }
        let (offer, is_streamed) = (self.offer.clone(), call.streams.any());
        match offer.methods.find(call.routing.method(), is_streamed) {
            Some(way) if way.is_streamed != is_streamed => self.refuse(&call, ErrorCode::INVALID, not_its_kind(&call)),
            Some(way) => match &way.answer {
                Answer::Here(answer) => {
                    self.context.deadline = self.deadline_of(&call, now);
                    answer(&call, &self.context, &mut self.answers);
                    self.flush_if_many();
                }
                Answer::Task(answer) => self.begin(call, answer, now),
            },
            None => self.refuse(&call, ErrorCode::NO_METHOD, no_method(&offer, &call)),
        }
    }

    fn deadline_of(&self, call: &Call, now: Instant) -> Instant {
        let timeout_ms = if call.timeout_ms == 0 { self.connection.call_default_ms() } else { call.timeout_ms };
        now + Duration::from_millis(u64::from(timeout_ms))
    }

    fn begin(&mut self, call: Call, answer: &dyn Fn(Call, AsyncContext) -> Answering, now: Instant) {
        if self.tasks.len() >= self.offer.limit() {
            let text = format!("{} takes {} calls at once", target(&call), self.offer.window());
            return self.refuse(&call, ErrorCode::BUSY, text);
        }
        let deadline = self.deadline_of(&call, now);
        // The caller of a one-way call waits for nothing, and that of one with streams as long as anything comes.
        let ends = (!call.one_way && !call.streams.any()).then_some(deadline);
        let connection = self.connection.clone();
        let scope = NonZeroU64::new(call.id).map(|id| Scope { id, deadline: ends, connection: connection.clone() });
        let context = AsyncContext {
            caller: self.context.caller.clone(),
            deadline,
            client: self.client.bound_to(scope),
            connection: connection.clone(),
        };
        let (cancel, cancelled) = oneshot::channel();
        let id = call.id;
        let is_alone = self.tasks.is_empty();
        self.cancels.insert(id, cancel);
        let answering = answer(detached(call), context);
        self.tasks.spawn(async move {
            let mut answers = until_cancelled(id, answering, cancelled).await;
            if let Some(parent) = NonZeroU64::new(id) {
                connection.end_nested(parent, ErrorCode::CANCELLED);
            }
            connection.answer(&mut answers, is_alone);
            let _ = connection.room(Patience::new(Instant::now(), 0)).await; // its place in the window is free when the broker reads again
            id
        });
    }

    /// What the service says of itself.
    fn describe(&mut self, call: &Call) {
        match &self.offer.said().description {
            Some(description) => {
                self.answers.push_message(description.answer(call.id));
                self.flush_if_many();
            }
            None => self.refuse(call, ErrorCode::NO_METHOD, format!("{} says nothing of itself", service_of(call))),
        }
    }

    fn refuse(&mut self, call: &Call, code: ErrorCode, text: impl Into<String>) {
        drop(Place::of_delivered(&self.connection, call)); // what still comes of its streams is ignored
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
            self.connection.answer(&mut self.answers, true);
        }
    }
}

/// Runs a call until its end, or until its caller has stopped waiting: its future is dropped then.
async fn until_cancelled(id: u64, mut answering: Answering, mut cancelled: oneshot::Receiver<ErrorCode>) -> Frames {
    let mut is_watched = true;
    poll_fn(|context| {
        if is_watched && let Poll::Ready(reason) = std::pin::Pin::new(&mut cancelled).poll(context) {
            is_watched = false;
            if let Ok(reason) = reason {
                return Poll::Ready(Err(reason));
            }
        }
        answering.as_mut().poll(context).map(Ok)
    })
    .await
    .unwrap_or_else(|reason| {
        drop(answering);
        refused(id, reason, "the caller has stopped waiting")
    })
}
