//! How a client starts a call with streams.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ipc_protocol::Streams;

use super::{
    call::{StreamCall, StreamCallBytes},
    downlink::{Downlink, DownlinkBytes},
    place::Place,
    receiving::Receiving,
    sending::Sending,
    uplink::{Uplink, UplinkBytes},
};
use crate::{
    client::Client,
    error::Result,
    request::Request,
    scratch::with_body,
    session::{
        Outgoing,
        outgoing::{Answer, What, routing_of},
        patience::to_ms,
    },
    stream_method::{AsStreamRequest, StreamMethod},
};

impl Client {
    /// Starts a call with streams. Its deadline is one of silence: it begins anew with each item of either side, and the side that waits for the
    /// other one shows that it is there. The request and its items travel as bincode, or as JSON once the service has said that it
    /// doesn't take bincode from this build (`unsupported_encoding`, retry safe).
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
        let mut outgoing = Outgoing::of_request(&request, &routing, Answer::Wanted);
        outgoing.what = What::Stream(streams);
        let (sending, receiving) = self.open(&outgoing, streams)?;
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
        let (sending, receiving) = with_body(encoding, request, |body| {
            let outgoing = Outgoing {
                what: What::Stream(streams),
                routing: &routing,
                encoding,
                timeout_ms: silence.map_or(0, to_ms),
                body,
                answer: Answer::Wanted,
                parent: None,
            };
            self.open(&outgoing, streams)
        })?;
        Ok(StreamCall::new(Uplink::new(sending), Downlink::new(receiving, self.calls().line.clone(), routing)))
    }

    fn open(&self, outgoing: &Outgoing<'_>, streams: Streams) -> Result<(Sending, Receiving)> {
        let (connection, id, _) = self.calls().begin_on(self.connection(), Instant::now(), outgoing)?;
        let place = Arc::new(Place::of_caller(connection, id, outgoing.timeout_ms));
        let mut sending = Sending::new(place.clone(), outgoing.encoding);
        if !streams.request {
            sending.finish();
        }
        Ok((sending, Receiving::new(place)))
    }
}
