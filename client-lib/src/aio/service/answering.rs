//! How an async method is made of bytes.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use ipc_protocol::{Call, ErrorCode, Failure, Message};
use serde::{Serialize, de::DeserializeOwned};

use super::context::AsyncContext;
use crate::{
    aio::stream::{AsyncItems, AsyncSink, Place, Receiving, Sending},
    app_error::MethodError,
    error::Result,
    method::Method,
    service::{Built, Failed, guarded, panicked, push_end, read_request, unfit},
    session::Frames,
    stream_method::StreamMethod,
};

/// Answers a call: exactly one frame.
pub(super) type Answer = Arc<dyn Fn(Call, AsyncContext) -> Answering + Send + Sync>;
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
    Box::pin(async move { answered(&call, built, |request| answer(request, context)).await })
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
        let place = Place::of_delivered(&context.connection, &call).map(Arc::new);
        let unfit = unfit::<M>(&call).or_else(|| place.is_none().then(|| "the call has ended".to_owned()));
        let place = match (unfit, place) {
            (None, Some(place)) => place,
            (text, _) => return refused(call.id, ErrorCode::INVALID, text.unwrap_or_default()),
        };
        let items = AsyncItems::new(Receiving::new(place.clone()));
        let sink = AsyncSink::new(Sending::new(place.clone()));
        let closing = Closing(place);
        // A request that can't be read is refused before its caller may send an item: it can make the call again in another encoding.
        let begin = |request| {
            if call.streams.request {
                closing.0.welcome_items();
            }
            answer(request, items, sink, context)
        };
        answered(&call, built, begin).await
    })
}

/// Ends the streams of a call with its method, although that has given a half of them away.
struct Closing(Arc<Place>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
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

/// What is made of the request of a call.
async fn answered<Q, R, E, F>(call: &Call, built: Built, answer: impl FnOnce(Q) -> F) -> Frames
where
    Q: DeserializeOwned,
    R: Serialize,
    E: MethodError,
    F: Future<Output = Result<R, Failed<E>>>,
{
    let begun = catch_unwind(AssertUnwindSafe(|| read_request(call, built).map(answer)));
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
    guarded(call, &mut answers, |answers| push_end(call, answers, end));
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
