//! How a client starts a call with streams.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::{Encoding, Routing, Streams};

use super::{
    call::{StreamCall, StreamCallBytes},
    course::{Again, At},
    downlink::{Downlink, DownlinkBytes},
    place::Place,
    receiving::Receiving,
    sending::Sending,
    uplink::{Uplink, UplinkBytes},
};
use crate::{
    calls::Calls,
    client::Client,
    error::Result,
    link::blocking::Connection,
    request::Request,
    scratch::with_body,
    session::{
        Outgoing, Payload,
        outgoing::{Answer, What, encode, routing_of},
        patience::to_ms,
    },
    stream_method::{AsStreamRequest, StreamMethod},
};

impl Client {
    /// Starts a call with streams. Its deadline is one of silence: it begins anew with each item of either side, and the side that waits for the
    /// other one shows that it is there. The request and its items travel as bincode, or as JSON if the service was built with other
    /// types. It says so before it takes the first item, so nothing is lost, and the call is made again without the program noticing. One
    /// that says so later ends the call with `unsupported_encoding` (retry safe), and the next one is in JSON.
    ///
    /// ```
    /// use ipc_client::{Client, Service, StreamMethod};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Shout;
    ///
    /// impl StreamMethod for Shout {
    ///     const SERVICE: &'static str = "shout";
    ///     const METHOD: &'static str = "";
    ///     type In = String;
    ///     type Out = String;
    ///     type Reply = usize;
    ///     type Error = String;
    /// }
    ///
    /// # let broker = ipc_client::testing::broker()?;
    /// # let address = broker.address();
    /// let service = Service::new("shout").address(&address).stream(|_: Shout, items, mut out, _| {
    ///     let mut count = 0;
    ///     for item in items {
    ///         out.send(&item?.to_uppercase())?;
    ///         count += 1;
    ///     }
    ///     Ok(count)
    /// });
    /// let _serving = service.start()?;
    ///
    /// let mut call = Client::connect_to(&address)?.stream(&Shout)?;
    /// call.send(&"hello".to_owned())?;
    /// call.finish();
    /// assert_eq!(call.next().transpose()?.as_deref(), Some("HELLO"));
    /// assert_eq!(call.end()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Client::start`]. That the service takes no streams, the call says later.
    pub fn stream<Q: AsStreamRequest>(&self, request: &Q) -> Result<StreamCall<Q::Method>> {
        self.stream_at(None, request, None)
    }

    /// Starts a call with streams that ends when neither side is heard for `silence`: 1 ms to 1 h, other values are moved to the nearer
    /// end.
    ///
    /// # Errors
    /// As [`Client::stream`].
    pub fn stream_within<Q: AsStreamRequest>(&self, request: &Q, silence: Duration) -> Result<StreamCall<Q::Method>> {
        self.stream_at(None, request, Some(silence))
    }

    /// Starts a call with streams and a request of bytes. Its timeout is one of silence, as for [`Client::stream`].
    ///
    /// # Errors
    /// As [`Client::start`].
    pub fn stream_bytes(&self, request: Request, streams: Streams) -> Result<StreamCallBytes> {
        let routing = routing_of(&request)?;
        let call = Beginning { routing, streams, timeout_ms: request.timeout.map_or(0, to_ms) };
        let (encoding, body) = (request.encoding, Payload::Shared(request.body));
        let first = call.begin(self.calls(), self.connection(), encoding, body)?;
        let (sending, receiving) = halves(first, None, streams);
        Ok(StreamCallBytes::new(UplinkBytes::new(sending), DownlinkBytes::new(receiving)))
    }

    /// As [`Client::stream_within`], under another name than the method's own.
    pub(crate) fn stream_at<Q: AsStreamRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        silence: Option<Duration>,
    ) -> Result<StreamCall<Q::Method>> {
        let (routing, encoding) = self.calls().line.routes(|routes| routes.of_stream::<Q::Method>(name))?;
        let streams = Streams { request: Q::Method::UPLOAD, reply: Q::Method::DOWNLOAD };
        let call = Beginning { routing, streams, timeout_ms: silence.map_or(0, to_ms) };
        let first = with_body(encoding, request, |body| call.begin(self.calls(), self.connection(), encoding, body))?;
        let again = (encoding == Encoding::BINCODE).then(|| in_json(self.calls(), &call, request)).flatten();
        let (sending, receiving) = halves(first, again, streams);
        let down = Downlink::new(receiving, self.calls().line.clone(), call.routing);
        Ok(StreamCall::new(Uplink::new(sending), down))
    }
}

/// How to make a call once more, should its service not take bincode of this build. The request is encoded now: it may be borrowed.
/// None if JSON can't have it.
fn in_json<Q: AsStreamRequest>(calls: &Calls, call: &Beginning, request: &Q) -> Option<Again<Connection>> {
    let body = encode(Encoding::JSON, request).ok()?;
    let (calls, call) = (calls.clone(), call.clone());
    Some(Box::new(move || {
        calls.line.routes(|routes| routes.prefer_json(call.routing.service()));
        call.begin(&calls, calls.line.connection(), Encoding::JSON, Payload::Shared(body))
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
    fn begin(
        &self,
        calls: &Calls,
        connection: Arc<Connection>,
        encoding: Encoding,
        body: Payload<'_>,
    ) -> Result<At<Connection>> {
        let Self { routing, streams, timeout_ms } = self;
        let what = What::Stream(*streams);
        let (answer, timeout_ms) = (Answer::Wanted, *timeout_ms);
        let outgoing = Outgoing { what, routing, encoding, timeout_ms, body, answer, parent: None };
        let (connection, id, _) = calls.begin_on(connection, Instant::now(), &outgoing)?;
        Ok(At::started(connection, id, encoding, timeout_ms))
    }
}

fn halves(first: At<Connection>, again: Option<Again<Connection>>, streams: Streams) -> (Sending, Receiving) {
    let place = Arc::new(Place::of_caller(first, again));
    let mut sending = Sending::new(place.clone());
    if !streams.request {
        sending.finish();
    }
    (sending, Receiving::new(place))
}
