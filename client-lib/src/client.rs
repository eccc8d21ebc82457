//! The calling side: one connection, shared by threads, made anew when it is found dead.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ipc_protocol::{
    DESCRIBE, Encoding, PeerNumber, Routing, Target,
    control::{self, Operation},
    transport::Address,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    calls::Calls,
    cancel::CancelToken,
    connect::Connect,
    cork::Corked,
    description::Description,
    error::{CallError, Result},
    line::{Line, Redial, gone},
    link::{
        blocking::Connection,
        dial::{self, Dial},
    },
    method::{AsRequest, ErrorOf, ReplyOf},
    pending::{Pending, PendingBytes},
    request::{Request, Response},
    scratch::with_body,
    session::{
        Outgoing, Patience, Role,
        outgoing::{Answer, Operated, What, decode_reply, routing_of},
        patience::to_ms,
    },
};

/// A connection to a broker, for calls. Cloning it shares the connection; many threads may have many calls under way on it.
///
/// No thread runs behind it: a thread that waits for its reply reads the connection, for all that wait. A connection that is
/// found dead when a call starts is made anew, once, without waiting; a call that may have run is never sent twice.
///
/// After fork(2) a client must not be used in the child: both would read from one socket.
#[derive(Clone)]
pub struct Client(Calls);

impl Client {
    /// Connects to the broker that the environment gives: `$IPCD_SOCKET`, else `$XDG_RUNTIME_DIR/ipcd/ipcd.sock`, else
    /// `/run/ipcd/ipcd.sock` for root, else `/tmp/ipcd-UID/ipcd.sock`.
    ///
    /// A broker that belongs to another user is not trusted with calls, unless that user is root or the address was chosen: by
    /// [`Client::connect_to`], or by `$IPCD_SOCKET`. Root trusts no broker of another user by any variable, for su(1) and `sudo -E`
    /// keep those of the user before.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened or the broker is not trusted, `usage` if
    /// `$IPCD_SOCKET` holds no address.
    pub fn connect() -> Result<Self> {
        Self::builder().connect()
    }

    /// Connects to the broker at an address, whichever user it belongs to.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened.
    pub fn connect_to(address: &Address) -> Result<Self> {
        Self::builder().address(address).connect()
    }

    /// Uses a connected stream socket. It is never made anew: once it is dead, calls end with `broker_lost`.
    ///
    /// # Errors
    /// `usage` if the descriptor isn't a stream socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Ok(Self::on(dial::adopt(fd)?, Redial::Never))
    }

    /// Connects with other settings than the defaults.
    pub fn builder() -> Connect {
        Connect::default()
    }

    fn dial(dial: Dial) -> Result<Self> {
        let connection = dial.connect(Duration::MAX, Role::Caller)?;
        let redial = if dial.can_redial() { Redial::NextCall(dial) } else { Redial::Never };
        Ok(Self::on(connection, redial))
    }

    /// The same connection for calls that do not end with the method they were made in: [`Context::client`](crate::Context::client)
    /// gives a client whose calls do.
    #[must_use]
    pub fn unbound(&self) -> Self {
        Self(Calls { line: self.0.line.clone(), scope: None })
    }

    /// The same connection for calls on behalf of a running one.
    pub(crate) fn bound_to(&self, scope: CancelToken) -> Self {
        Self(Calls { line: self.0.line.clone(), scope: Some(scope) })
    }

    /// A client on the connection of a service.
    pub(crate) fn of_service(connection: Connection) -> Self {
        Self::on(connection, Redial::Service)
    }

    /// Calls a method and waits for its reply, up to the broker's default: 30 s unless it is configured otherwise.
    ///
    /// # Errors
    /// [`CallError::App`] is the service's own error. [`CallError::Failed`] says what else went wrong and whether a retry is safe.
    pub fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.call_at(None, request, None)
    }

    /// Calls a method and waits for its reply, up to `timeout`: 1 ms to 1 h, other values are moved to the nearer end.
    ///
    /// # Errors
    /// As [`Client::call`]; `deadline` when the time is over.
    pub fn call_within<Q: AsRequest>(
        &self,
        request: &Q,
        timeout: Duration,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.call_at(None, request, Some(timeout))
    }

    /// Sends a call and does not wait; its deadline of 30 s starts now. Dropping what is returned cancels the call.
    ///
    /// Blocks only while the broker does not take what is written. A caller who starts many calls should wait for them in time: a
    /// broker ends a connection whose peer leaves 4 MiB of replies unread, and answers `busy` beyond 1,024 calls under way.
    ///
    /// # Errors
    /// `unavailable`, `denied` or `broker_lost` if there is no connection, `too_large`, `usage` if the names in `M` aren't valid.
    pub fn start<Q: AsRequest>(&self, request: Q) -> Result<Pending<Q>> {
        self.start_at(None, request, None)
    }

    /// Lets calls that are started gather, so that many leave with one write: when the returned value is dropped, when 32 KiB have
    /// come together, or as soon as anyone waits for a reply. Holds for all threads that share the client. Dropping it waits until
    /// everything has left; [`Corked::flush`] also says whether it has.
    ///
    /// ```
    /// # use ipc_client::{CallError, Client, Method, Service};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Double(u32);
    /// # impl Method for Double {
    /// #     const SERVICE: &'static str = "double";
    /// #     const METHOD: &'static str = "";
    /// #     type Reply = u32;
    /// #     type Error = std::convert::Infallible;
    /// # }
    /// # let broker = ipc_client::testing::broker()?;
    /// # let address = broker.address();
    /// # let _serving = Service::new("double").address(&address).quick(|of: Double, _| Ok(of.0 * 2)).start()?;
    /// # let client = Client::connect_to(&address)?;
    /// let corked = client.cork();
    /// let started: Vec<_> = (0..64).map(|n| client.start(Double(n))).collect::<Result<_, _>>()?;
    /// drop(corked);
    /// let doubled: Vec<u32> = started.into_iter().map(|pending| pending.wait()).collect::<Result<_, _>>()?;
    /// # assert_eq!(doubled[63], 126);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cork(&self) -> Corked<'_> {
        Corked::new(&self.0.line)
    }

    /// Calls with a body that is already encoded, and waits for the reply.
    ///
    /// # Errors
    /// What the call ended with: `app_error` has the application's own code and value.
    pub fn call_bytes(&self, request: Request) -> Result<Response> {
        self.start_bytes(request)?.wait()
    }

    /// Sends a call with a body that is already encoded, and does not wait. As [`Client::start`] otherwise.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub fn start_bytes(&self, request: Request) -> Result<PendingBytes> {
        let routing = routing_of(&request)?;
        self.0.submit(&Outgoing::of_request(&request, &routing, Answer::Wanted)).map(PendingBytes::new)
    }

    /// Asks a service what it says of itself: its methods, their types and what they are for. `timeout` as for [`Client::ask`].
    ///
    /// # Errors
    /// What the call ended with: `no_method` from a service that says nothing. `protocol` if it isn't a description.
    pub fn describe(&self, service: &Target, timeout: Option<Duration>) -> Result<Description> {
        let routing = Routing::to(&service.service(), DESCRIBE).build();
        let request = Request::new(service.clone(), Bytes::new());
        let request = Request { timeout, ..request };
        let outgoing = Outgoing::of_request(&request, &routing, Answer::Wanted);
        let response = self.0.submit(&outgoing)?.wait(None)?;
        decode_reply(&service.to_string(), DESCRIBE, &response)
    }

    /// Sends a call that wants no reply. Returns once the broker has accepted or refused it; whether it runs, and what it ends
    /// with, is not told.
    ///
    /// # Errors
    /// The broker's refusal: `no_service`, `busy`, `denied` and others, all `retry: safe`. `broker_lost` if the connection ended
    /// before the broker said either.
    pub fn one_way(&self, request: Request) -> Result<()> {
        let routing = routing_of(&request)?;
        self.0.submit(&Outgoing::of_request(&request, &routing, Answer::Unwanted))?.wait(None).map(drop)
    }

    /// Tells a service something, and wants no reply: a typed [`Client::one_way`]. It travels as JSON, which every service takes.
    ///
    /// # Errors
    /// As [`Client::one_way`]; `usage` if the names in `M` are not valid, `invalid` if the request cannot be encoded.
    pub fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.tell_at(None, request, None)
    }

    /// Asks the broker itself: one of the operations in [`control::operation`].
    ///
    /// ```
    /// use ipc_client::{Client, control, control::operation};
    ///
    /// # let broker = ipc_client::testing::broker()?;
    /// # let address = broker.address();
    /// let client = Client::connect_to(&address)?;
    /// let page = client.ask::<operation::List>(&control::List::default(), None)?;
    /// assert!(page.names.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The broker's refusal; `protocol` if the answer isn't one to this question.
    pub fn ask<O: Operation>(&self, request: &O::Request, timeout: Option<Duration>) -> Result<O::Answer> {
        self.control(O::NAME, request, timeout)
    }

    /// Calls an operation of the broker by its name: for one that this library does not know. See [`Client::ask`].
    ///
    /// # Errors
    /// As [`Client::ask`]; `usage` if `operation` isn't a method name.
    pub fn control<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        let operated = Operated::new(operation, request, timeout)?;
        let response = self.0.exchange(self.connection(), Instant::now(), &operated.outgoing())?;
        decode_reply(control::SERVICE, operation, &response)
    }

    /// Measures how long the broker takes to answer.
    ///
    /// # Errors
    /// `unavailable` or `broker_lost` if there is no connection, `deadline` after 30 s.
    pub fn ping(&self) -> Result<Duration> {
        self.ping_in(0)
    }

    /// As [`Client::ping`], but waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`Client::ping`]; `deadline` when the time is over.
    pub fn ping_within(&self, timeout: Duration) -> Result<Duration> {
        self.ping_in(to_ms(timeout))
    }

    fn ping_in(&self, timeout_ms: u32) -> Result<Duration> {
        let now = Instant::now();
        let patience = Patience::new(now, timeout_ms);
        let connection = self.connection();
        let (connection, id) = match connection.ping(patience)? {
            Some(id) => (connection, id),
            None => {
                let connection = self.0.line.replace(&connection, patience)?;
                let id = connection.ping(patience)?.ok_or_else(|| gone(&connection))?;
                (connection, id)
            }
        };
        connection.wait(id, patience, None).map(|_| now.elapsed())
    }

    /// The own number, under which the broker lists this connection. Asks the broker if it has not said so yet.
    ///
    /// # Errors
    /// As [`Client::ping`].
    pub fn peer(&self) -> Result<PeerNumber> {
        loop {
            if let Some(number) = self.connection().peer() {
                return Ok(number);
            }
            self.ping()?; // its end comes behind the welcome
        }
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.0
    }

    /// Puts a registered connection in place of a dead one.
    pub(crate) fn adopt(&self, connection: Arc<Connection>) {
        self.0.line.adopt(connection);
    }

    /// No connection follows the one at hand.
    pub(crate) fn retire(&self) {
        self.0.line.retire();
    }

    /// The number of a service's connection, which it has been told by the time it is registered.
    pub(crate) fn number(&self) -> PeerNumber {
        self.connection().peer().unwrap_or(PeerNumber(0))
    }

    /// The connection that calls use now.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.0.line.connection()
    }

    fn on(connection: Connection, redial: Redial) -> Self {
        Self(Calls { line: Arc::new(Line::new(connection, redial)), scope: None })
    }

    /// As [`Client::call_within`], under another name than the method's own.
    pub(crate) fn call_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        let (connection, now, asked) = self.0.prepare::<Q::Method>(name, timeout)?;
        let outcome =
            with_body(asked.encoding, request, |body| self.0.exchange(connection, now, &asked.outgoing(body)));
        self.0.settle(outcome, asked, request)
    }

    /// As [`Client::start`], under another name and with another deadline.
    pub(crate) fn start_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: Q,
        timeout: Option<Duration>,
    ) -> Result<Pending<Q>> {
        let (connection, now, asked) = self.0.prepare::<Q::Method>(name, timeout)?;
        let ticket =
            with_body(asked.encoding, &request, |body| self.0.submit_on(connection, now, &asked.outgoing(body)))?;
        Ok(Pending::new(self.0.clone(), ticket, asked, request))
    }

    /// As [`Client::tell`], under another name and with another deadline.
    pub(crate) fn tell_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (routing, _) = self.0.line.routes(|routes| routes.of::<Q::Method>(name))?;
        with_body(Encoding::JSON, request, |body| {
            self.0.submit(&Outgoing {
                what: What::Call,
                routing: &routing,
                encoding: Encoding::JSON,
                timeout_ms: timeout.map_or(0, to_ms),
                body,
                answer: Answer::Unwanted,
                parent: None,
            })
        })?
        .wait(None)
        .map(drop)
    }
}

impl Connect {
    /// Connects.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened or belongs to a stranger, `usage` if the
    /// environment doesn't name an address.
    pub fn connect(self) -> Result<Client> {
        Client::dial(self.dial()?)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.connection()).finish()
    }
}
