//! A call with streams that is under way, for futures.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;
use ipc_protocol::{Encoding, ErrorCode, Routing, Streams};

use super::{
    receiving::Receiving,
    sending::{Sending, sink},
};
use crate::{
    aio::{calls::Calls, client::AsyncClient, line::AsyncLine},
    error::{CallError, Error, Result},
    link::tokio::Connection,
    scratch::with_body,
    session::{
        Outgoing, Payload, Serial,
        outgoing::{Answer, What, decode_reply, encode},
        patience::to_ms,
        typed::said_no,
    },
    stream::{Again, At},
    stream_method::{AsStreamRequest, StreamMethod},
};

impl AsyncClient {
    /// Starts a call with streams. It ends when neither side is heard for the broker's default: 30 s unless it is configured otherwise.
    ///
    /// # Errors
    /// As [`Client::stream`](crate::Client::stream).
    pub async fn stream<Q: AsStreamRequest>(&self, request: &Q) -> Result<AsyncStreamCall<Q::Method>> {
        self.stream_at(None, request, None).await
    }

    /// Starts a call with streams that ends when neither side is heard for `silence`: 1 ms to 1 h, other values are moved to the nearer
    /// end.
    ///
    /// # Errors
    /// As [`Client::stream`](crate::Client::stream).
    pub async fn stream_within<Q: AsStreamRequest>(
        &self,
        request: &Q,
        silence: Duration,
    ) -> Result<AsyncStreamCall<Q::Method>> {
        self.stream_at(None, request, Some(silence)).await
    }

    /// As [`AsyncClient::stream_within`], under another name than the method's own.
    pub(in crate::aio) async fn stream_at<Q: AsStreamRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        silence: Option<Duration>,
    ) -> Result<AsyncStreamCall<Q::Method>> {
        let (routing, encoding) = self.line().routes(|routes| routes.of_stream::<Q::Method>(name))?;
        let streams = Streams { request: Q::Method::UPLOAD, reply: Q::Method::DOWNLOAD };
        let call = Beginning { routing, streams, timeout_ms: silence.map_or(0, to_ms) };
        let put = |connection: &Connection, now| {
            with_body(encoding, request, |body| self.calls().put(connection, now, call.outgoing(encoding, body)))
        };
        let ticket = self.calls().submit(call.timeout_ms, put).await?;
        let (connection, id) = ticket.into_id();
        let again =
            (encoding == Encoding::BINCODE).then(|| in_json(self.calls(), &call, &connection, request)).flatten();
        let (sending, receiving) = super::opened(call.at(connection, id, encoding), again, streams);
        let (line, routing) = (self.line().clone(), call.routing);
        let down = AsyncDownlink { half: receiving, line, routing, items: PhantomData };
        Ok(AsyncStreamCall { up: AsyncUplink { half: sending, items: PhantomData }, down })
    }
}

/// How to make a call once more, should its service not take bincode of this build: on the connection that says so. The request is
/// encoded now: it may be borrowed. None if JSON can't have it.
fn in_json<Q: AsStreamRequest>(
    calls: &Calls,
    call: &Beginning,
    connection: &Arc<Connection>,
    request: &Q,
) -> Option<Again<Connection>> {
    let body = encode(Encoding::JSON, request).ok()?;
    let (calls, call, connection) = (calls.clone(), call.clone(), connection.clone());
    Some(Box::new(move || {
        calls.line.routes(|routes| routes.prefer_json(call.routing.service()));
        let outgoing = call.outgoing(Encoding::JSON, Payload::Shared(body));
        let id = calls.put(&connection, Instant::now(), outgoing)?.ok_or_else(|| connection.gone())?;
        Ok(call.at(connection, id, Encoding::JSON))
    }))
}

/// What all attempts of a call have in common.
#[derive(Clone)]
struct Beginning {
    routing: Routing,
    streams: Streams,
    timeout_ms: u32,
}

impl Beginning {
    fn outgoing<'a>(&'a self, encoding: Encoding, body: Payload<'a>) -> Outgoing<'a> {
        let Self { routing, streams, timeout_ms } = self;
        let (what, answer, timeout_ms) = (What::Stream(*streams), Answer::Wanted, *timeout_ms);
        Outgoing { what, routing, encoding, timeout_ms, body, answer, parent: None }
    }

    fn at(&self, connection: Arc<Connection>, id: Serial, encoding: Encoding) -> At<Connection> {
        At::started(connection, id, encoding, self.timeout_ms)
    }
}

/// A typed call with streams: a stream of the items of the service. Dropping it cancels the call.
///
/// Sending waits until the service takes the item, so who sends much and receives much does both at once, with
/// [`split`](AsyncStreamCall::split).
#[must_use = "dropping it cancels the call"]
pub struct AsyncStreamCall<M: StreamMethod> {
    up: AsyncUplink<M>,
    down: AsyncDownlink<M>,
}

impl<M: StreamMethod> AsyncStreamCall<M> {
    /// Sends an item; waits until the service takes it.
    ///
    /// # Errors
    /// As [`AsyncUplink::send`].
    pub async fn send(&mut self, item: &M::In) -> Result<()> {
        self.up.send(item).await
    }

    /// There are no more items of the caller. Those of the service may still come.
    pub fn finish(&mut self) {
        self.up.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        self.up.half.fail(code, text);
    }

    /// Waits for the next item. `None` at their end; what the call ended with, if that has cut them short.
    pub async fn next(&mut self) -> Option<Result<M::Out>> {
        self.down.next().await
    }

    /// Finishes, drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn end(mut self) -> Result<M::Reply, CallError<M::Error>> {
        self.finish();
        self.down.end().await
    }

    /// Both directions, for a task each. The call is cancelled when both are dropped.
    #[must_use]
    pub fn split(self) -> (AsyncUplink<M>, AsyncDownlink<M>) {
        (self.up, self.down)
    }
}

impl<M: StreamMethod> Stream for AsyncStreamCall<M> {
    type Item = Result<M::Out>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.down.poll(context)
    }
}

impl<M: StreamMethod> fmt::Debug for AsyncStreamCall<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncStreamCall({}.{})", M::SERVICE, M::METHOD)
    }
}

/// Sends the items of a typed call. Dropped unfinished, it tells the service that the items aren't complete.
///
/// As a `Sink` of other crates it keeps one item until the service allows it; closing it sends that and finishes.
pub struct AsyncUplink<M: StreamMethod> {
    half: Sending,
    items: PhantomData<fn(M::In)>,
}

impl<M: StreamMethod> AsyncUplink<M> {
    /// Sends an item; waits until the service takes it. A future that is dropped before has not sent it.
    ///
    /// # Errors
    /// As [`Uplink::send`](crate::Uplink::send).
    pub async fn send(&mut self, item: &M::In) -> Result<()> {
        self.half.send(item).await
    }

    /// There are no more items.
    pub fn finish(mut self) {
        self.half.finish();
    }

    /// There are no more items, although they aren't complete: the service is told why.
    pub fn fail(mut self, code: ErrorCode, text: &str) {
        self.half.fail(code, text);
    }
}

sink!([M: StreamMethod] AsyncUplink<M>, M::In, keep);

impl<M: StreamMethod> fmt::Debug for AsyncUplink<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncUplink({}.{})", M::SERVICE, M::METHOD)
    }
}

/// Receives the items of a typed call, as a stream, and its end.
///
/// Items that the end of the call has cut short end with the error, once; [`AsyncDownlink::end`] has it, too.
pub struct AsyncDownlink<M: StreamMethod> {
    half: Receiving,
    line: Arc<AsyncLine>,
    /// Names the service.
    routing: Routing,
    items: PhantomData<fn() -> M::Out>,
}

impl<M: StreamMethod> AsyncDownlink<M> {
    /// Waits for the next item. `None` at their end.
    pub async fn next(&mut self) -> Option<Result<M::Out>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Drops the items that still come, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with.
    pub async fn end(self) -> Result<M::Reply, CallError<M::Error>> {
        let Self { half, line, routing, .. } = self;
        match half.outcome().await {
            Ok(response) => Ok(decode_reply(M::SERVICE, M::METHOD, &response)?),
            Err(error) => {
                learn_encoding(&line, &routing, &error);
                Err(said_no(error))
            }
        }
    }

    fn poll(&mut self, context: &Context<'_>) -> Poll<Option<Result<M::Out>>> {
        let item = self.half.poll_value(context);
        if let Poll::Ready(Some(Err(error))) = &item {
            learn_encoding(&self.line, &self.routing, error);
        }
        item
    }
}

impl<M: StreamMethod> Stream for AsyncDownlink<M> {
    type Item = Result<M::Out>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

impl<M: StreamMethod> fmt::Debug for AsyncDownlink<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsyncDownlink({}.{})", M::SERVICE, M::METHOD)
    }
}

/// The call could not be made again here, for items had gone along with it; the program's own next one is in JSON.
fn learn_encoding(line: &AsyncLine, routing: &Routing, error: &Error) {
    if error.code() == ErrorCode::UNSUPPORTED_ENCODING {
        line.routes(|routes| routes.prefer_json(routing.service()));
    }
}
