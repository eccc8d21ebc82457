//! The calling side for futures: one connection, shared by tasks, made anew when it is found dead.

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

use super::{
    calls::{Calls, Scope},
    line::AsyncLine,
    pending::{AsyncPending, AsyncPendingBytes},
};
use crate::{
    client::Client,
    connect::Connect,
    description::Description,
    error::{CallError, Result},
    line::Redial,
    link::{
        dial,
        tokio::{Connection, Ticket},
    },
    method::{AsRequest, ErrorOf, ReplyOf},
    request::{Request, Response},
    scratch::with_body,
    session::{
        Outgoing, Patience, Role,
        outgoing::{Answer, Operated, What, decode_reply, routing_of},
        patience::to_ms,
    },
};

/// A connection to a broker, for futures on the runtime tokio. Cloning it shares the connection; many tasks may have many calls under way
/// on it. What is said of [`Client`] holds here as well.
///
/// One task runs behind each connection: it reads for all. It belongs to the runtime in which the client connected; when that ends, calls
/// end with `broker_lost`, and the next one connects from where it is made. The runtime may have one thread or many; it needs IO and time
/// (`enable_all`).
///
/// Dropping a future cancels its call: the service is told. Calls that are made while others are under way gather, and leave together when
/// the task has its turn, which is when those that run have nothing more to do. No more than 1 MiB waits for a broker that takes nothing;
/// then calls wait before they are sent. The broker answers `busy` beyond 1,024 calls under way.
///
/// # What it does not have
/// A cork, and `send_all`: calls that are polled together, as `join!` does it, leave together by themselves, and so do items that are sent
/// one after the other. Waits with a limit: a future is given one with
/// `tokio::time::timeout`, and an interrupt with `select!`; what waits for items, events or a started call loses nothing when it is dropped
/// and polled anew. [`Client::start_publishing`]: the future of [`publish`](AsyncClient::publish) is polled beside others.
/// Datagrams: a [`Datagram`](crate::Datagram) never waits.
///
/// ```
/// use ipc_client::{AsyncClient, AsyncService, Method};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Double(u32);
/// # impl Method for Double {
/// #     const SERVICE: &'static str = "double";
/// #     const METHOD: &'static str = "";
/// #     type Reply = u32;
/// #     type Error = std::convert::Infallible;
/// # }
///
/// # let directory = tempfile::tempdir()?;
/// # let address = ipc_client::Address::Path(directory.path().join("ipcd.sock"));
/// # let (_stop, stopped) = std::os::unix::net::UnixStream::pair()?;
/// # let broker = ipcd::Server::bind(ipcd::Config::new(address.clone()))?;
/// # std::thread::spawn(move || broker.run(stopped.into()));
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let serving = AsyncService::new("double")
///     .address(&address)
///     .method(|of: Double, _| async move { Ok(of.0 * 2) })
///     .start()
///     .await?;
///
/// let client = AsyncClient::connect_to(&address).await?;
/// assert_eq!(client.call(&Double(4)).await?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AsyncClient(Calls);

impl AsyncClient {
    /// Connects to the broker that the environment gives, as [`Client::connect`] does.
    ///
    /// # Errors
    /// As [`Client::connect`]; `usage` outside of a runtime.
    pub async fn connect() -> Result<Self> {
        Client::builder().connect_async().await
    }

    /// Connects to the broker at an address, whichever user it belongs to.
    ///
    /// # Errors
    /// As [`Client::connect_to`]; `usage` outside of a runtime.
    pub async fn connect_to(address: &Address) -> Result<Self> {
        Client::builder().address(address).connect_async().await
    }

    /// Uses a connected stream socket. It is never made anew: once it is dead, calls end with `broker_lost`.
    ///
    /// # Errors
    /// `usage` if the descriptor isn't a stream socket, and outside of a runtime.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let (fd, name) = dial::checked(fd)?;
        Ok(Self::on(Connection::new(fd, dial::GIVEN.to_owned(), &name, Role::Caller)?, Redial::Never))
    }

    /// Calls a method and waits for its reply, up to the broker's default: 30 s unless it is configured otherwise.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.call_at(None, request, None).await
    }

    /// Calls a method and waits for its reply, up to `timeout`: 1 ms to 1 h, other values are moved to the nearer end.
    ///
    /// # Errors
    /// As [`Client::call_within`].
    pub async fn call_within<Q: AsRequest>(
        &self,
        request: &Q,
        timeout: Duration,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        self.call_at(None, request, Some(timeout)).await
    }

    /// Sends a call and does not wait for its end; its deadline of 30 s starts now. Dropping what is returned cancels the call.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub async fn start<Q: AsRequest>(&self, request: Q) -> Result<AsyncPending<Q>> {
        self.start_at(None, request, None).await
    }

    /// Calls with a body that is already encoded, and waits for the reply.
    ///
    /// # Errors
    /// As [`Client::call_bytes`].
    pub async fn call_bytes(&self, request: Request) -> Result<Response> {
        let routing = routing_of(&request)?;
        let response = self.0.exchange(&Outgoing::of_request(&request, &routing, Answer::Wanted)).await?;
        Ok(response.detached())
    }

    /// Sends a call with a body that is already encoded, and does not wait for its end. As [`AsyncClient::start`] otherwise.
    ///
    /// # Errors
    /// As [`Client::start_bytes`].
    pub async fn start_bytes(&self, request: Request) -> Result<AsyncPendingBytes> {
        AsyncPendingBytes::start(self.0.clone(), request).await
    }

    /// Sends a call that wants no reply. Ends once the broker has accepted or refused it.
    ///
    /// # Errors
    /// As [`Client::one_way`].
    pub async fn one_way(&self, request: Request) -> Result<()> {
        let routing = routing_of(&request)?;
        self.0.exchange(&Outgoing::of_request(&request, &routing, Answer::Unwanted)).await.map(drop)
    }

    /// Tells a service something, and wants no reply: a typed [`AsyncClient::one_way`]. It travels as JSON, which every service takes.
    ///
    /// # Errors
    /// As [`Client::tell`].
    pub async fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.tell_at(None, request, None).await
    }

    /// Asks the broker itself: one of the operations in [`control::operation`].
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn ask<O: Operation>(&self, request: &O::Request, timeout: Option<Duration>) -> Result<O::Answer> {
        self.control(O::NAME, request, timeout).await
    }

    /// Calls an operation of the broker by its name: for one that this library does not know. See [`AsyncClient::ask`].
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn control<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        let operated = Operated::new(operation, request, timeout)?;
        let response = self.0.exchange(&operated.outgoing()).await?;
        decode_reply(control::SERVICE, operation, &response)
    }

    /// Asks a service what it says of itself: its methods, their types and what they are for. `timeout` as for [`AsyncClient::ask`].
    ///
    /// # Errors
    /// As [`Client::describe`].
    pub async fn describe(&self, service: &Target, timeout: Option<Duration>) -> Result<Description> {
        let routing = Routing::to(&service.service(), DESCRIBE).build();
        let request = Request { timeout, ..Request::new(service.clone(), Bytes::new()) };
        let response = self.0.exchange(&Outgoing::of_request(&request, &routing, Answer::Wanted)).await?;
        decode_reply(&service.to_string(), DESCRIBE, &response)
    }

    /// Measures how long the broker takes to answer.
    ///
    /// # Errors
    /// As [`Client::ping`].
    pub async fn ping(&self) -> Result<Duration> {
        self.ping_in(0).await
    }

    /// As [`AsyncClient::ping`], but waits no longer than `timeout`.
    ///
    /// # Errors
    /// As [`Client::ping_within`].
    pub async fn ping_within(&self, timeout: Duration) -> Result<Duration> {
        self.ping_in(to_ms(timeout)).await
    }

    async fn ping_in(&self, timeout_ms: u32) -> Result<Duration> {
        let now = Instant::now();
        let patience = Patience::new(now, timeout_ms);
        let connection = self.connection();
        let mut ticket = match Ticket::of_ping(&connection, patience) {
            Some(ticket) => ticket,
            None => {
                let connection = self.0.line.replace(&connection, patience).await?;
                Ticket::of_ping(&connection, patience).ok_or_else(|| connection.gone())?
            }
        };
        ticket.end().await.map(|_| now.elapsed())
    }

    /// The own number, under which the broker lists this connection. Asks the broker if it has not said so yet.
    ///
    /// # Errors
    /// As [`Client::ping`].
    pub async fn peer(&self) -> Result<PeerNumber> {
        loop {
            if let Some(number) = self.connection().peer() {
                return Ok(number);
            }
            self.ping().await?; // its end comes behind the welcome
        }
    }

    /// Waits until everything has left that was sent before: for a program that announces something and ends. Gives up after 30 s.
    ///
    /// # Errors
    /// `deadline` if the broker takes nothing.
    pub async fn flush(&self) -> Result<()> {
        let connection = self.connection();
        connection.flush(Patience::new(Instant::now(), 0).until(connection.call_default_ms())).await
    }

    /// The same connection for calls that do not end with the method they were made in: [`AsyncContext::client`](crate::AsyncContext::client)
    /// gives a client whose calls do.
    #[must_use]
    pub fn unbound(&self) -> Self {
        Self(Calls { line: self.0.line.clone(), scope: None })
    }

    /// The same connection for calls on behalf of a running one.
    pub(super) fn bound_to(&self, scope: Option<Scope>) -> Self {
        Self(Calls { line: self.0.line.clone(), scope })
    }

    /// A client on the connection of a service.
    pub(super) fn of_service(connection: Connection) -> Self {
        Self::on(connection, Redial::Service)
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.0
    }

    pub(super) fn line(&self) -> &Arc<AsyncLine> {
        &self.0.line
    }

    /// The connection that calls use now.
    pub(super) fn connection(&self) -> Arc<Connection> {
        self.0.line.connection()
    }

    /// As [`AsyncClient::call_within`], under another name than the method's own.
    pub(super) async fn call_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        let begun = self.0.ask(name, request, timeout).await?;
        self.0.settle(begun, request).await
    }

    /// As [`AsyncClient::start`], under another name and with another deadline.
    pub(super) async fn start_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: Q,
        timeout: Option<Duration>,
    ) -> Result<AsyncPending<Q>> {
        let begun = self.0.ask(name, &request, timeout).await?;
        Ok(AsyncPending::new(self.0.clone(), begun, request))
    }

    /// As [`AsyncClient::tell`], under another name and with another deadline.
    pub(super) async fn tell_at<Q: AsRequest>(
        &self,
        name: Option<&str>,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (routing, _) = self.0.line.routes(|routes| routes.of::<Q::Method>(name))?;
        let timeout_ms = timeout.map_or(0, to_ms);
        let put = |connection: &Connection, now| {
            with_body(Encoding::JSON, request, |body| {
                let call = Outgoing {
                    what: What::Call,
                    routing: &routing,
                    encoding: Encoding::JSON,
                    timeout_ms,
                    body,
                    answer: Answer::Unwanted,
                    parent: None,
                };
                self.0.put(connection, now, call)
            })
        };
        self.0.submit(timeout_ms, put).await?.end().await.map(drop)
    }

    fn on(connection: Connection, redial: Redial) -> Self {
        Self(Calls { line: Arc::new(AsyncLine::new(connection, redial)), scope: None })
    }
}

impl Connect {
    /// Connects for futures on the runtime tokio.
    ///
    /// # Errors
    /// As [`Connect::connect`]; `usage` outside of a runtime.
    pub async fn connect_async(self) -> Result<AsyncClient> {
        let dial = self.dial()?;
        let connection = Connection::dial(&dial, Duration::MAX, Role::Caller).await?;
        let redial = if dial.can_redial() { Redial::NextCall(dial) } else { Redial::Never };
        Ok(AsyncClient::on(connection, redial))
    }
}

impl fmt::Debug for AsyncClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncClient").field(&self.connection()).finish()
    }
}
