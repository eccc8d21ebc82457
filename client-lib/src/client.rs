//! The calling side: one connection, shared by threads, made anew when it is found dead.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ipc_protocol::{Call, Encoding, ErrorCode, PeerNumber, Retry, codec, control, transport::Address};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    connect::Connect,
    error::{CallError, Error, Result},
    link::blocking::{Connection, Departure},
    link::dial::{self, Dial},
    method::Method,
    pending::{Pending, PendingBytes, Ticket},
    request::{Request, Response},
    session::Role,
    session::outgoing::{
        Answer, GRACE, decode_reply, encode, outgoing, outgoing_bytes, outgoing_control, span, unencodable,
    },
    session::routes::Routes,
};

/// A connection to a broker, for calls. Cloning it shares the connection; many threads may have many calls under way on it.
///
/// No thread runs behind it: a thread that waits for its reply reads the connection, for all that wait. A connection that is
/// found dead when a call starts is made anew, once, without waiting; a call that may have run is never sent twice.
///
/// After fork(2) a client must not be used in the child: both would read from one socket.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    redial: Redial,
    line: Mutex<Line>,
    /// How many [`Corked`] live.
    corks: AtomicUsize,
}

/// What changes when the connection does, and what each typed call looks up: one lock for both. May be held while a socket is
/// connected, at most as long as the call that needs it may take.
struct Line {
    connection: Arc<Connection>,
    routes: Routes,
}

/// Who makes a new connection when this one is dead.
enum Redial {
    /// The next call.
    NextCall(Dial),
    /// The service that the connection belongs to, which registers on it first.
    Service,
    /// Nobody.
    Never,
}

impl Client {
    /// Connects to the broker that the environment gives: `$IPCD_SOCKET`, else `$XDG_RUNTIME_DIR/ipcd/ipcd.sock`, else
    /// `/run/ipcd/ipcd.sock` for root, else `/tmp/ipcd-UID/ipcd.sock`.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened or, found by this search, belongs to
    /// somebody who is neither root nor this user, `usage` if `$IPCD_SOCKET` holds no address.
    pub fn connect() -> Result<Self> {
        Self::builder().connect()
    }

    /// Connects to the broker at an address.
    ///
    /// # Errors
    /// `unavailable` if no broker answers, `denied` if its socket may not be opened.
    pub fn connect_to(address: &Address) -> Result<Self> {
        Self::builder().address(address).connect()
    }

    /// Uses a connected stream socket. It is never made anew: once it is dead, calls end with `broker_lost`.
    ///
    /// # Errors
    /// `usage` if the descriptor is no stream socket.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Ok(Self::on(dial::adopt(fd)?, Redial::Never))
    }

    /// Connects with other settings than the defaults.
    pub fn builder() -> Connect {
        Connect::default()
    }

    pub(crate) fn dial(dial: Dial) -> Result<Self> {
        let connection = dial.connect(Duration::MAX, Role::Caller)?;
        let redial = if dial.can_redial() { Redial::NextCall(dial) } else { Redial::Never };
        Ok(Self::on(connection, redial))
    }

    /// A client on the connection of a service.
    pub(crate) fn of_service(connection: Connection) -> Self {
        Self::on(connection, Redial::Service)
    }

    /// Calls a method and waits for its reply, at most 30 s.
    ///
    /// # Errors
    /// [`CallError::App`] is the service's own no; [`CallError::Failed`] says what else happened and whether a retry is safe.
    pub fn call<M: Method>(&self, request: &M) -> Result<M::Reply, CallError<M::Error>> {
        self.begin(request, None)?.wait()
    }

    /// Calls a method and waits for its reply, at most `timeout` long: 1 ms to 1 h, other values are moved to the nearer end.
    ///
    /// # Errors
    /// As [`Client::call`]; `deadline` when the time is over.
    pub fn call_within<M: Method>(&self, request: &M, timeout: Duration) -> Result<M::Reply, CallError<M::Error>> {
        self.begin(request, Some(timeout))?.wait()
    }

    /// Sends a call and does not wait; its deadline of 30 s starts now. Dropping what is returned cancels the call.
    ///
    /// Blocks only while the broker does not take what is written. A caller who starts many calls should wait for them in time: a
    /// broker ends a connection whose peer leaves 4 MiB of replies unread, and answers `busy` beyond 1,024 calls under way.
    ///
    /// # Errors
    /// `unavailable`, `denied` or `broker_lost` if there is no connection, `too_large`, `usage` if the names in `M` are none.
    pub fn start<M: Method>(&self, request: &M) -> Result<Pending<M>> {
        self.begin(request, None)
    }

    /// Lets calls that are started gather, so that many leave with one write: when the returned value is dropped, when 32 KiB have
    /// come together, or as soon as anyone waits for a reply. Holds for all threads that share the client.
    ///
    /// ```no_run
    /// # use ipc_client::{CallError, Client, Method};
    /// # fn ask<M: Method>(client: &Client, requests: &[M]) -> Result<Vec<M::Reply>, CallError<M::Error>> {
    /// let corked = client.cork();
    /// let started: Vec<_> = requests.iter().map(|request| client.start(request)).collect::<Result<_, _>>()?;
    /// drop(corked);
    /// started.into_iter().map(|pending| pending.wait()).collect()
    /// # }
    /// ```
    pub fn cork(&self) -> Corked<'_> {
        self.0.corks.fetch_add(1, Ordering::Relaxed);
        Corked { client: self }
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
        let mut call = outgoing_bytes(request, Answer::Wanted)?;
        self.submit(&mut call).map(PendingBytes::new)
    }

    /// Sends a call that wants no reply. Returns once the broker has accepted or refused it; whether it runs, and what it ends
    /// with, nobody hears.
    ///
    /// # Errors
    /// The broker's refusal: `no_service`, `busy`, `denied` and others, all `retry: safe`. `broker_lost` if the connection ended
    /// before the broker said either.
    pub fn one_way(&self, request: Request) -> Result<()> {
        let mut call = outgoing_bytes(request, Answer::Unwanted)?;
        let (now, until) = span(call.timeout_ms);
        let connection = self.line().connection.clone();
        if let Some(result) = send_one_way(&connection, &mut call, now, until)? {
            return result;
        }
        let connection = self.replace(&connection, until)?;
        send_one_way(&connection, &mut call, now, until)?.unwrap_or_else(|| Err(gone(&connection)))
    }

    /// Calls an operation of the broker itself, such as `list` with [`control::List`].
    ///
    /// # Errors
    /// The broker's refusal; `usage` if `operation` is no method name; `protocol` if the answer is no `A`.
    pub fn control<Q: Serialize, A: DeserializeOwned>(
        &self,
        operation: &str,
        request: &Q,
        timeout: Option<Duration>,
    ) -> Result<A> {
        let mut call = outgoing_control(operation, request, timeout)?;
        let response = self.submit(&mut call)?.wait(None)?;
        decode_reply(control::SERVICE, operation, &response)
    }

    /// Asks the broker for a sign of life and tells how long that took.
    ///
    /// # Errors
    /// `unavailable` or `broker_lost` if there is no connection, `deadline` after 30 s.
    pub fn ping(&self) -> Result<Duration> {
        let (now, until) = span(0);
        let connection = self.line().connection.clone();
        let (connection, id) = match connection.ping(until)? {
            Some(id) => (connection, id),
            None => {
                let connection = self.replace(&connection, until)?;
                let id = connection.ping(until)?.ok_or_else(|| gone(&connection))?;
                (connection, id)
            }
        };
        connection.wait(id, until, None).map(|_| now.elapsed())
    }

    /// The own number, under which the broker lists this connection. Asks the broker if it has not said so yet; 0, which no peer
    /// has, if it cannot be reached.
    #[must_use]
    pub fn peer(&self) -> PeerNumber {
        let known = || self.line().connection.peer();
        known().or_else(|| self.ping().ok().and_then(|_| known())).unwrap_or(PeerNumber(0))
    }

    /// Sends a call again that its service refused for its encoding.
    pub(crate) fn resend_as_json<M: Method>(&self, refused: Call, until: Instant) -> Result<Ticket> {
        let request: M = codec::decode(refused.encoding, &refused.body).map_err(|error| unencodable(&error))?;
        self.line().routes.prefer_json(M::SERVICE);
        let left = until.saturating_duration_since(Instant::now()).saturating_sub(GRACE);
        let body = encode(Encoding::JSON, &request)?;
        self.submit(&mut outgoing(refused.routing, Encoding::JSON, body, Some(left)))
    }

    /// Puts a registered connection in place of a dead one.
    pub(crate) fn publish(&self, connection: Connection) -> Arc<Connection> {
        let connection = Arc::new(connection);
        self.line().connection = connection.clone();
        connection
    }

    /// The connection that calls use now.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.line().connection.clone()
    }

    fn on(connection: Connection, redial: Redial) -> Self {
        let line = Line { connection: Arc::new(connection), routes: Routes::default() };
        Self(Arc::new(Shared { redial, line: Mutex::new(line), corks: AtomicUsize::new(0) }))
    }

    fn begin<M: Method>(&self, request: &M, timeout: Option<Duration>) -> Result<Pending<M>> {
        let (connection, routing, encoding) = {
            let mut line = self.line();
            let (routing, encoding) = line.routes.of::<M>()?;
            (line.connection.clone(), routing, encoding)
        };
        let mut call = outgoing(routing, encoding, encode(encoding, request)?, timeout);
        let ticket = self.submit_on(connection, &mut call)?;
        Ok(Pending::new(self.clone(), ticket, call))
    }

    fn submit(&self, call: &mut Call) -> Result<Ticket> {
        self.submit_on(self.connection(), call)
    }

    /// Sends a call; on a new connection if the one at hand is dead and nothing of the call was written there.
    fn submit_on(&self, connection: Arc<Connection>, call: &mut Call) -> Result<Ticket> {
        let (now, until) = span(call.timeout_ms);
        let departure = if self.0.corks.load(Ordering::Relaxed) > 0 { Departure::Gathered } else { Departure::AtOnce };
        if let Some(id) = connection.submit(call, departure, now, until)? {
            return Ok(Ticket::new(connection, id, until));
        }
        let connection = self.replace(&connection, until)?;
        match connection.submit(call, departure, now, until)? {
            Some(id) => Ok(Ticket::new(connection, id, until)),
            None => Err(gone(&connection)),
        }
    }

    /// A live connection instead of a dead one, unless another thread was faster.
    fn replace(&self, dead: &Arc<Connection>, until: Instant) -> Result<Arc<Connection>> {
        let mut line = self.line();
        if Arc::ptr_eq(&line.connection, dead) || !line.connection.takes_more() {
            let dial = match &self.0.redial {
                Redial::NextCall(dial) => dial,
                Redial::Service => return Err(reconnecting(&line.connection)),
                Redial::Never => return Err(gone(&line.connection)),
            };
            let patience = until.saturating_duration_since(Instant::now()).saturating_sub(GRACE);
            line.connection = Arc::new(dial.connect(patience, Role::Caller)?);
        }
        Ok(line.connection.clone())
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.connection()).finish()
    }
}

/// While this lives, calls that are started gather: see [`Client::cork`].
#[must_use = "calls gather only while it lives"]
#[derive(Debug)]
pub struct Corked<'a> {
    client: &'a Client,
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        self.client.0.corks.fetch_sub(1, Ordering::Relaxed);
        self.client.connection().flush_now();
    }
}

fn send_one_way(connection: &Connection, call: &mut Call, now: Instant, until: Instant) -> Result<Option<Result<()>>> {
    let Some((call, ping)) = connection.one_way(call, now, until)? else { return Ok(None) };
    let accepted = connection.wait(ping, until, None);
    let refused = connection.take(call);
    connection.abandon(call); // nothing more is expected of it, and nothing is sent for it
    Ok(Some(match refused {
        Some(Err(refusal)) => Err(refusal),
        Some(Ok(_)) | None => accepted.map(drop),
    }))
}

fn gone(connection: &Connection) -> Error {
    let reason = connection.loss().map_or_else(
        || format!("the connection to the broker at {} ended before the call was sent", connection.place()),
        |loss| loss.text,
    );
    Error::new(ErrorCode::BROKER_LOST, reason).with_retry(Retry::Safe)
}

fn reconnecting(connection: &Connection) -> Error {
    let text = format!("the broker at {} went away and the service is not registered again yet", connection.place());
    Error::new(ErrorCode::UNAVAILABLE, text)
}
