//! How an async method is made of bytes.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use ipc_protocol::{Call, ErrorCode, Failure, Message};

use super::context::AsyncContext;
use crate::{
    aio::stream::{AsyncItems, AsyncItemsBytes, AsyncSink, AsyncSinkBytes, Place, Receiving, Sending},
    error::Result,
    link::tokio::Connection,
    method::Method,
    request::Response,
    service::{Built, Failed, Incoming, guarded, incoming, panicked, push_end, push_response, read_request, unfit},
    session::Frames,
    stream_method::StreamMethod,
};

/// Answers a call: exactly one frame.
pub(super) enum Answer {
    /// By the task that serves.
    Here(Quick),
    /// By a task of its own.
    Task(Box<dyn Fn(Call, AsyncContext) -> Answering + Send + Sync>),
}

type Quick = Box<dyn Fn(&Call, &AsyncContext, &mut Frames) + Send + Sync>;

/// A call that runs. Dropping it ends it without an answer.
pub(super) type Answering = Pin<Box<dyn Future<Output = Frames> + Send>>;

/// Answers a call of a typed method.
pub(super) fn answer_typed<M, A, F>(call: Call, built: Built, context: AsyncContext, answer: Arc<A>) -> Answering
where
    M: Method + Send + 'static,
    M::Reply: Send,
    M::Error: Send,
    A: Fn(M, AsyncContext) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
{
    Box::pin(async move {
        let read = |call: &Call| read_request(call, built);
        answered(&call, read, |request| answer(request, context), push_end).await
    })
}

/// Answers a call with what an untyped method makes of it.
pub(super) fn answer_any<A, F>(call: Call, context: AsyncContext, answer: Arc<A>) -> Answering
where
    A: Fn(Incoming, AsyncContext) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response, Failed>> + Send + 'static,
{
    Box::pin(async move {
        let read = |call: &Call| Ok(incoming(call));
        answered(&call, read, |incoming| answer(incoming, context), push_response).await
    })
}

/// Answers a call of a typed method with streams.
pub(super) fn answer_stream<M, A, F>(call: Call, built: Built, context: AsyncContext, answer: Arc<A>) -> Answering
where
    M: StreamMethod + Send + 'static,
    M::Reply: Send,
    M::Error: Send,
    A: Fn(M, AsyncItems<M::In>, AsyncSink<M::Out>, AsyncContext) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failed<M::Error>>> + Send + 'static,
{
    Box::pin(async move {
        let Some(entered) = Entered::of(&context.connection, &call) else { return over(call.id) };
        if let Some(text) = unfit::<M>(&call) {
            return refused(call.id, ErrorCode::INVALID, text);
        }
        let (items, sink) = (AsyncItems::new(entered.receiving()), AsyncSink::new(entered.sending()));
        let read = |call: &Call| read_request(call, built);
        // A request that can't be read is refused before its caller may send an item: it can make the call again in another encoding.
        let begin = |request| {
            entered.welcome_items(&call);
            answer(request, items, sink, context)
        };
        answered(&call, read, begin, push_end).await
    })
}

/// Answers a call with streams with what an untyped method makes of it.
pub(super) fn answer_any_stream<A, F>(call: Call, context: AsyncContext, answer: Arc<A>) -> Answering
where
    A: Fn(Incoming, AsyncItemsBytes, AsyncSinkBytes, AsyncContext) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response, Failed>> + Send + 'static,
{
    Box::pin(async move {
        let Some(entered) = Entered::of(&context.connection, &call) else { return over(call.id) };
        let items = AsyncItemsBytes::new(entered.receiving());
        let sink = AsyncSinkBytes::new(entered.sending());
        entered.welcome_items(&call);
        let read = |call: &Call| Ok(incoming(call));
        answered(&call, read, |incoming| answer(incoming, items, sink, context), push_response).await
    })
}

/// The streams of a call that runs. They end with its method, although that has given a half of them away.
struct Entered(Arc<Place>);

impl Entered {
    fn of(connection: &Arc<Connection>, call: &Call) -> Option<Self> {
        Place::of_delivered(connection, call).map(Arc::new).map(Self)
    }

    fn receiving(&self) -> Receiving {
        Receiving::new(self.0.clone())
    }

    fn sending(&self) -> Sending {
        Sending::new(self.0.clone())
    }

    /// From now on the caller may send items, if it has any.
    fn welcome_items(&self, call: &Call) {
        if call.streams.request {
            self.0.welcome_items();
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn over(id: u64) -> Frames {
    refused(id, ErrorCode::INVALID, "the call has ended")
}

/// A refusal.
pub(super) fn refused(id: u64, code: ErrorCode, text: impl Into<String>) -> Frames {
    failed(Failure::new(id, code, text))
}

fn failed(failure: Failure) -> Frames {
    let mut answers = Frames::default();
    answers.push_message(Message::Error(failure));
    answers
}

/// What is made of a call: it is read, answered, and the end is pushed.
async fn answered<Q, F: Future>(
    call: &Call,
    read: impl FnOnce(&Call) -> Result<Q, Failure>,
    answer: impl FnOnce(Q) -> F,
    push: fn(&Call, &mut Frames, F::Output) -> Result<(), Failure>,
) -> Frames {
    let begun = catch_unwind(AssertUnwindSafe(|| read(call).map(answer)));
    let running = match begun {
        Ok(Ok(running)) => running,
        Ok(Err(failure)) => return failed(failure),
        Err(panic) => return failed(panicked(call, &*panic)),
    };
    let end = match until_panic(call, running).await {
        Ok(end) => end,
        Err(failure) => return failed(failure),
    };
    let mut answers = Frames::default();
    guarded(call, &mut answers, |answers| push(call, answers, end));
    answers
}

/// Runs a method: a panic is answered and goes no further.
async fn until_panic<F: Future>(call: &Call, running: F) -> Result<F::Output, Failure> {
    let mut running = pin!(running);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panicked(call, &*panic))),
    })
    .await
}
