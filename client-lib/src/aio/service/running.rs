//! The calls that a service was given on one connection and has not answered.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    num::NonZeroU64,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{Call, DESCRIBE, ErrorCode, Identity};
use tokio::{sync::oneshot, task::JoinSet};

use super::{
    answering::{Answer, Answering, refused},
    context::AsyncContext,
};
use crate::{
    aio::{calls::Scope, client::AsyncClient, stream::Place},
    link::tokio::Connection,
    service::{Caller, Offer, detached, no_method, not_its_kind, service_of, target},
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
    /// Stamp of the last caller: most calls have the same as the one before.
    stamp: Bytes,
    caller: Arc<Caller>,
}

impl Running {
    pub(super) fn new(offer: &Arc<Offer<Answer>>, client: &AsyncClient, connection: Arc<Connection>) -> Self {
        Self {
            offer: offer.clone(),
            client: client.clone(),
            connection,
            tasks: JoinSet::new(),
            cancels: HashMap::new(),
            inbound: Vec::new(),
            stamp: Bytes::new(),
            caller: Arc::default(),
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
        if !self.recognise(&call.caller) {
            return self.refuse(&call, ErrorCode::PROTOCOL, "the broker did not say who calls");
        }
        if call.routing.method() == DESCRIBE.as_bytes() {
            return self.describe(&call);
        }
        let is_streamed = call.streams.any();
        match self.offer.methods.find(call.routing.method(), is_streamed) {
            Some(way) if way.is_streamed != is_streamed => self.refuse(&call, ErrorCode::INVALID, not_its_kind(&call)),
            Some(way) => {
                let answer = way.answer.clone();
                self.begin(call, &answer, now);
            }
            None => self.refuse(&call, ErrorCode::NO_METHOD, no_method(&self.offer, &call)),
        }
    }

    fn begin(&mut self, call: Call, answer: &Answer, now: Instant) {
        if self.tasks.len() >= self.offer.limit() {
            let text = format!("{} takes {} calls at once", target(&call), self.offer.window());
            return self.refuse(&call, ErrorCode::BUSY, text);
        }
        let timeout_ms = if call.timeout_ms == 0 { self.connection.call_default_ms() } else { call.timeout_ms };
        let deadline = now + Duration::from_millis(u64::from(timeout_ms));
        // The caller of a one-way call waits for nothing, and that of one with streams as long as anything comes.
        let ends = (!call.one_way && !call.streams.any()).then_some(deadline);
        let connection = self.connection.clone();
        let scope = NonZeroU64::new(call.id).map(|id| Scope { id, deadline: ends, connection: connection.clone() });
        let context = AsyncContext {
            caller: self.caller.clone(),
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
                let mut answers = Frames::default();
                answers.push_message(description.answer(call.id));
                self.connection.answer(&mut answers, true);
            }
            None => self.refuse(call, ErrorCode::NO_METHOD, format!("{} says nothing of itself", service_of(call))),
        }
    }

    fn refuse(&self, call: &Call, code: ErrorCode, text: impl Into<String>) {
        drop(Place::of_delivered(&self.connection, call)); // what still comes of its streams is ignored
        self.connection.answer(&mut refused(call.id, code, text), false);
    }

    /// Reads who calls from a stamp; false if it isn't one.
    fn recognise(&mut self, stamp: &Bytes) -> bool {
        if self.stamp == *stamp && !stamp.is_empty() {
            return true;
        }
        let Ok((identity, peer)) = Identity::from_stamp(stamp) else { return false };
        self.caller = Arc::new(Caller { identity, peer });
        self.stamp = Bytes::copy_from_slice(stamp);
        true
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
