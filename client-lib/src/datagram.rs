//! Calls and events by datagram: no connection to set up, one frame each way.

use std::{
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use ipc_protocol::{
    Call, Encoding, ErrorCode, Event, Frame, Message, Retry, Streams,
    limits::{DEFAULT_TIMEOUT_MS, MAX_BODY, MAX_DATAGRAM},
    transport::{
        Address,
        poll::{self, PollFd, PollFlags},
    },
};
use rustix::fs::{Mode, OFlags};
use uds::{UnixDatagramExt, UnixSocketAddr};

use crate::{
    error::{CallError, Error, Result},
    link::dial::{Dial, own_uid, refused},
    method::{AsRequest, ErrorOf, ReplyOf},
    publication::Publication,
    request::{Request, Response},
    session::{
        Outcome, Patience,
        outgoing::{Answer, encode, routing_of},
        patience::to_ms,
        routes::Routes,
        typed::read_end,
    },
    topic::Topic,
};

/// A sender of datagrams to a broker.
///
/// For processes that send one call and go, or that must never wait for a broker: sending never blocks. A datagram holds up to
/// 65,536 bytes, names and header included, and the kernel queues about ten of them: `busy` says that a call was not sent. One call
/// at a time waits for its reply: threads that share a sender take turns, and the time that a call waits for its turn counts.
#[derive(Debug)]
pub struct Datagram {
    socket: UnixDatagram,
    address: Address,
    dial: Dial,
    /// Id of the last call. Ids start at random: the kernel gives the address of a sender that is gone to the next one, and an answer
    /// that comes late must not be taken for one of its own.
    last_id: AtomicU64,
    turn: Turn,
}

/// What goes into a datagram.
enum Sent {
    Call(Call),
    Event(Event),
}

/// One call at a time waits for its reply.
#[derive(Debug, Default)]
struct Turn {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// The turn of one call.
struct Taken<'a>(&'a Turn);

impl Datagram {
    /// A sender to the broker that the environment gives: see [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    /// `unavailable` if no broker takes datagrams there, `denied` if its socket may not be opened or, found by the default search,
    /// belongs to a stranger, `usage` if `$IPCD_SOCKET` holds no address.
    pub fn connect() -> Result<Self> {
        Self::dial(Dial::from_environment()?)
    }

    /// A sender to the broker whose stream socket is at this address; the datagram socket is beside it.
    ///
    /// # Errors
    /// As [`Datagram::connect`]; `usage` for an inherited descriptor.
    pub fn connect_to(address: &Address) -> Result<Self> {
        Self::dial(Dial::to(address.clone()))
    }

    fn dial(dial: Dial) -> Result<Self> {
        let address = dial.datagram_address()?;
        let socket = open().map_err(|error| refused(&address, error))?;
        let sender = Self { socket, address, dial, last_id: AtomicU64::new(random_id()), turn: Turn::default() };
        sender.connect_socket()?;
        Ok(sender)
    }

    /// Connects the socket, so that only the broker can send to it. Who owns a stream socket, the kernel says once it is
    /// connected; of a datagram socket only its file tells. The file that was looked at is the one that is connected to, whatever
    /// its path leads to by then.
    fn connect_socket(&self) -> Result<()> {
        let refused = |error: io::Error| refused(&self.address, error);
        let connect = |target: &UnixSocketAddr| self.socket.connect_to_unix_addr(target).map_err(refused);
        if !self.dial.is_wary(own_uid()) {
            return connect(&unix_address(&self.address).map_err(refused)?);
        }
        let Address::Path(path) = &self.address else {
            let text = format!("whom {} belongs to cannot be told: name it with -s if it is meant", self.address);
            return Err(Error::new(ErrorCode::DENIED, text));
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| refused(error.into()))?);
        self.dial.check_owner(file.metadata().map_err(refused)?.uid())?;
        connect(&UnixSocketAddr::from_path(&format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(refused)?)
    }

    /// Calls a method and waits for its reply, up to 30 s. It travels as JSON, which every service takes.
    ///
    /// # Errors
    /// [`CallError::App`] is the service's own error; otherwise as [`Datagram::call_bytes`].
    pub fn call<Q: AsRequest>(&self, request: &Q) -> Result<ReplyOf<Q>, CallError<ErrorOf<Q>>> {
        read_end::<Q::Method>(self.exchange(typed_call(request, Answer::Wanted)?))
    }

    /// Tells a service something: a typed [`Datagram::one_way`].
    ///
    /// # Errors
    /// As [`Datagram::one_way`]; `usage` if the names in `M` are not valid, `invalid` if the request cannot be encoded.
    pub fn tell<Q: AsRequest>(&self, request: &Q) -> Result<()> {
        self.send(Sent::Call(typed_call(request, Answer::Unwanted)?)).map(drop)
    }

    /// Sends a call that wants no reply, and does not wait. Whether a service takes it is not told.
    ///
    /// # Errors
    /// `busy` if the broker's queue is full, `unavailable` if the broker is gone, `too_large`: the call was not sent.
    pub fn one_way(&self, request: Request) -> Result<()> {
        let call = call_of(request, Answer::Unwanted)?;
        self.send(Sent::Call(call)).map(drop)
    }

    /// Publishes an event, and does not wait. Whether the broker takes it is not told.
    ///
    /// # Errors
    /// As [`Datagram::one_way`]; `usage` if the name of the topic isn't valid, `invalid` if the event cannot be encoded.
    pub fn publish<T: Topic>(&self, topic: &T, event: &T::Event) -> Result<()> {
        self.publish_bytes(Publication::of(topic, event)?)
    }

    /// Publishes an event whose body is already encoded, as [`Datagram::publish`] does.
    ///
    /// # Errors
    /// As [`Datagram::publish`].
    pub fn publish_bytes(&self, publication: Publication) -> Result<()> {
        let routing = publication.routing()?;
        let Publication { encoding, body, retained, .. } = publication;
        let (publisher, body) = (Bytes::new(), body.into());
        let event = Event { id: 0, one_way: true, retained, encoding, publisher, routing, body };
        self.send(Sent::Event(event)).map(drop)
    }

    /// Sends a call and waits for its reply.
    ///
    /// # Errors
    /// As [`Datagram::one_way`]; what the call ended with. A datagram may be lost on its way, then the call ends with `deadline`.
    pub fn call_bytes(&self, request: Request) -> Result<Response> {
        self.exchange(call_of(request, Answer::Wanted)?)
    }

    fn exchange(&self, mut call: Call) -> Outcome {
        if call.timeout_ms == 0 {
            call.timeout_ms = DEFAULT_TIMEOUT_MS; // nothing tells the broker's own default here
        }
        let until = Patience::new(Instant::now(), call.timeout_ms).until(DEFAULT_TIMEOUT_MS);
        let Some(_turn) = self.turn.take(until) else {
            let text = "another call on this sender waited for its reply until then; this one was not sent";
            return Err(Error::new(ErrorCode::DEADLINE, text).with_retry(Retry::Safe));
        };
        let id = self.send(Sent::Call(call))?;
        self.receive(id, until)
    }

    /// Sends a frame and tells its id. A broker that was started anew has a new socket at the same address: nothing has reached it, so
    /// the frame goes there.
    fn send(&self, sent: Sent) -> Result<u64> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let frame = frame(sent, id)?;
        match self.socket.send(&frame) {
            Err(error) if is_gone(&error) => {
                self.connect_socket()?;
                self.socket.send(&frame)
            }
            sent => sent,
        }
        .map(|_| id)
        .map_err(|error| self.not_sent(error))
    }

    /// Waits for the end of call `id`. Everything else that comes is an answer to an earlier call that was given up.
    fn receive(&self, id: u64, until: Instant) -> Outcome {
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    let datagram = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
                    if let Some(outcome) = outcome_of(id, datagram) {
                        return outcome;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return Err(Error::new(ErrorCode::DEADLINE, "no answer came in time"));
                    }
                    poll::wait(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)], Some(until))
                        .map_err(|error| self.lost(&error))?;
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn not_sent(&self, error: io::Error) -> Error {
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => {
                Error::new(ErrorCode::BUSY, format!("the datagram queue of the broker at {} is full", self.address))
            }
            Some(rustix::io::Errno::MSGSIZE) => {
                Error::new(ErrorCode::TOO_LARGE, "the system takes no datagram of this size")
            }
            _ => refused(&self.address, error),
        }
    }

    fn lost(&self, error: &io::Error) -> Error {
        let text = format!("the broker at {} can't be reached any more ({error})", self.address);
        Error::new(ErrorCode::BROKER_LOST, text)
    }
}

impl Turn {
    /// Waits until no other call has the turn; `None` if the time comes first.
    fn take(&self, until: Instant) -> Option<Taken<'_>> {
        let mut taken = self.taken();
        while *taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            (taken, _) = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Some(Taken(self))
    }

    fn taken(&self) -> MutexGuard<'_, bool> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken() = false;
        self.0.freed.notify_one();
    }
}

/// A non-blocking socket under an abstract name that the kernel chooses (unix(7), "Autobind"): so it can be answered, and nothing
/// has to be removed afterwards.
fn open() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.bind_to_unix_addr(&UnixSocketAddr::new_unspecified())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn unix_address(address: &Address) -> io::Result<UnixSocketAddr> {
    match address {
        Address::Path(path) => UnixSocketAddr::from_path(path),
        Address::Abstract(name) => UnixSocketAddr::from_abstract(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn call_of(request: Request, answer: Answer) -> Result<Call> {
    let routing = routing_of(&request)?;
    Ok(Call {
        id: 0,
        one_way: answer == Answer::Unwanted,
        streams: Streams::NONE,
        encoding: request.encoding,
        timeout_ms: request.timeout.map_or(0, to_ms),
        caller: Bytes::new(),
        routing,
        body: request.body.into(),
    })
}

/// A typed call in JSON: a sender of datagrams has no other chance should its service not take bincode.
fn typed_call<Q: AsRequest>(request: &Q, answer: Answer) -> Result<Call> {
    let (routing, _) = Routes::default().of::<Q::Method>(None)?;
    let body = encode(Encoding::JSON, request)?.into();
    let one_way = answer == Answer::Unwanted;
    Ok(Call {
        id: 0,
        one_way,
        streams: Streams::NONE,
        encoding: Encoding::JSON,
        timeout_ms: 0,
        caller: Bytes::new(),
        routing,
        body,
    })
}

fn frame(sent: Sent, id: u64) -> Result<Vec<u8>> {
    let (body_len, message) = match sent {
        Sent::Call(call) => (call.body.len(), Message::Call(Call { id, ..call })),
        Sent::Event(event) => (event.body.len(), Message::Event(Event { id, ..event })),
    };
    let too_large = |len: usize| {
        let text = format!("what is sent takes {len} bytes, a datagram holds up to {MAX_DATAGRAM}");
        Error::new(ErrorCode::TOO_LARGE, text)
    };
    if body_len > MAX_DATAGRAM {
        return Err(too_large(body_len));
    }
    let frame = message.to_vec();
    if frame.len() > MAX_DATAGRAM { Err(too_large(frame.len())) } else { Ok(frame) }
}

/// How call `id` ended, if this datagram says so.
fn outcome_of(id: u64, datagram: Bytes) -> Option<Outcome> {
    let frame = Frame::from_datagram(datagram, MAX_BODY).ok()?;
    match Message::decode(frame).ok()? {
        Message::Reply(reply) if reply.id == id => {
            Some(Ok(Response { encoding: reply.encoding, body: reply.body.into_bytes() }))
        }
        Message::Error(failure) if failure.id == id => Some(Err(failure.into())),
        _ => None,
    }
}

/// Somewhere in the first half of the numbers, so that they can grow.
fn random_id() -> u64 {
    RandomState::new().build_hasher().finish() >> 1
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected | io::ErrorKind::ConnectionReset
    )
}
