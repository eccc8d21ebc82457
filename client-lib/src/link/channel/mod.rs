//! A link without a socket and without a broker: the ends of one [`Channel`] are a service and its clients, in one process.
//!
//! What an end writes is handled at once, on the thread that writes, by the [`Exchange`]; what that sends lies in memory until its
//! receiver reads, which an eventfd wakes. No thread stands between them, so deadlines are kept by the threads that wait at either end:
//! [`End::until`] shortens their waits.
//!
//! # Locks
//! The lock of the channel is taken last: under it no other is taken.

mod exchange;

use std::{
    collections::BTreeMap,
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use ipc_protocol::{
    Decoder, ErrorCode, Failure, Goodbye, Header, Incoming, Kind, Message, PeerNumber, Retry, Violation,
    limits::MAX_BODY,
    transport::{Bell, Inbox, Received, credentials},
};

use self::exchange::{Exchange, Outputs};
use crate::{
    error::{Error, Result},
    session::Session,
};

/// What a service and its clients have between them.
pub(crate) struct Channel {
    state: Mutex<State>,
}

struct State {
    exchange: Exchange,
    ends: BTreeMap<PeerNumber, Far>,
    /// Used again and again.
    outputs: Outputs,
}

/// An end, as the exchange has it.
struct Far {
    /// Of what the end writes.
    decoder: Decoder,
    /// What the end has not read.
    unread: Vec<u8>,
    bell: Bell,
    has_rung: bool,
}

/// One end: what a connection has in place of a socket.
pub(crate) struct End {
    channel: Arc<Channel>,
    number: PeerNumber,
    bell: Bell,
}

impl Channel {
    /// One without ends.
    ///
    /// # Errors
    /// `internal` if the system refuses a socket pair, which tells who this process is, as it would tell a broker.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        let own = UnixStream::pair().and_then(|(own, _)| credentials::of_peer(own.as_fd()));
        let exchange = Exchange::new(own.map_err(|error| Error::host("make a socket pair", error))?);
        let state = State { exchange, ends: BTreeMap::new(), outputs: Vec::new() };
        Ok(Arc::new(Self { state: Mutex::new(state) }))
    }

    /// Another end.
    ///
    /// # Errors
    /// `internal` if the system refuses an eventfd.
    pub(crate) fn open(self: &Arc<Self>) -> Result<End> {
        let bell = Bell::new().map_err(|error| Error::host("make an eventfd", error))?;
        let mut state = self.state();
        let number = state.exchange.enter();
        let far = Far { decoder: Decoder::new(MAX_BODY), unread: Vec::new(), bell: bell.clone(), has_rung: false };
        state.ends.insert(number, far);
        Ok(End { channel: self.clone(), number, bell })
    }

    /// Nothing under the lock panics on purpose; should it, the tables are still whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    /// Writes everything, and has it handled.
    ///
    /// # Errors
    /// `BrokenPipe` once the end is closed.
    pub(in crate::link) fn transmit(&self, session: &mut Session) -> io::Result<()> {
        if session.poll_transmit().is_none() {
            return Ok(());
        }
        let mut state = self.channel.state();
        while let Some(bytes) = session.poll_transmit() {
            let (len, bytes) = (bytes.len(), Bytes::copy_from_slice(bytes));
            state.feed(Instant::now(), self.number, bytes)?;
            session.transmitted(len);
        }
        Ok(())
    }

    /// Reads all that has come.
    pub(in crate::link) fn read(&self, inbox: &mut Inbox) -> Received {
        let mut state = self.channel.state();
        state.tick(Instant::now());
        let Some(far) = state.ends.get_mut(&self.number) else { return Received::End };
        if std::mem::take(&mut far.has_rung) {
            far.bell.silence();
        }
        if far.unread.is_empty() {
            return Received::Nothing;
        }
        let bytes = std::mem::take(&mut far.unread);
        drop(state);
        let len = bytes.len();
        inbox.decoder().feed(bytes.into());
        Received::Bytes(len)
    }

    /// A descriptor that is readable when the end is, for an owner of descriptors.
    ///
    /// # Errors
    /// What dup(2) says.
    #[cfg(feature = "tokio")]
    pub(in crate::link) fn descriptor(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.bell.descriptor()
    }

    /// When to stop waiting at this end: at the next deadline of any call.
    pub(in crate::link) fn until(&self, until: Option<Instant>) -> Option<Instant> {
        let due = self.channel.state().exchange.due();
        until.into_iter().chain(due).min()
    }

    /// Whether a deadline has passed: there is something to read then, or will be.
    pub(in crate::link) fn is_due(&self) -> bool {
        self.channel.state().exchange.due().is_some_and(|due| due <= Instant::now())
    }

    /// Closes the end. A thread that waits for it is woken.
    pub(in crate::link) fn close(&self) {
        let mut state = self.channel.state();
        state.remove(self.number);
        self.bell.ring();
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl State {
    /// Takes what an end has written.
    fn feed(&mut self, now: Instant, from: PeerNumber, bytes: Bytes) -> io::Result<()> {
        self.tick(now);
        let due = self.exchange.due();
        self.ends.get_mut(&from).ok_or(io::ErrorKind::BrokenPipe)?.decoder.feed(bytes);
        while let Some(far) = self.ends.get_mut(&from) {
            match next(&mut far.decoder) {
                Ok(None) => break,
                Ok(Some(message)) => self.exchange.take(now, from, message, &mut self.outputs),
                Err(violation) => {
                    let text = violation.to_string();
                    far.put(&Message::Goodbye(Goodbye { code: ErrorCode::PROTOCOL, text }));
                    self.exchange.leave(from, &mut self.outputs);
                    break;
                }
            }
        }
        self.deliver();
        self.wake_for_an_earlier(due);
        Ok(())
    }

    /// The thread that reads for the service keeps the deadlines of calls that no thread waits for: it waits no longer than until the
    /// first one.
    fn wake_for_an_earlier(&mut self, due: Option<Instant>) {
        let is_earlier = self.exchange.due().is_some_and(|now| due.is_none_or(|due| now < due));
        if let Some(far) = self.exchange.service().filter(|_| is_earlier).and_then(|peer| self.ends.get_mut(&peer)) {
            far.ring();
        }
    }

    fn tick(&mut self, now: Instant) {
        self.exchange.expire(now, &mut self.outputs);
        self.deliver();
    }

    fn remove(&mut self, end: PeerNumber) {
        if self.ends.remove(&end).is_some() {
            self.exchange.leave(end, &mut self.outputs);
            self.deliver();
        }
    }

    /// Puts what the exchange sends where its receivers find it.
    fn deliver(&mut self) {
        for (to, message) in self.outputs.drain(..) {
            if let Some(far) = self.ends.get_mut(&to) {
                far.put(&message);
            }
        }
    }
}

impl Far {
    fn put(&mut self, message: &Message) {
        message.encode_head(&mut self.unread);
        self.unread.extend_from_slice(message.body().map_or(&[][..], |body| body));
        self.ring();
    }

    fn ring(&mut self) {
        if !std::mem::replace(&mut self.has_rung, true) {
            self.bell.ring();
        }
    }
}

/// The next message of an end.
fn next(decoder: &mut Decoder) -> Result<Option<Message>, Violation> {
    loop {
        match decoder.next()? {
            None => return Ok(None),
            Some(Incoming::Frame(frame)) => return Message::decode(frame).map(Some),
            Some(Incoming::Begun(_)) => decoder.assemble(), // bounded by MAX_BODY
            Some(Incoming::TooLarge(header)) => return Ok(Some(too_large(&header))),
        }
    }
}

/// What an answer over the limit is to its caller. Nothing else comes here so long: sessions refuse it.
fn too_large(header: &Header) -> Message {
    match header.kind {
        Kind::REPLY | Kind::ERROR => {
            let text = format!("the service's answer has {} bytes, at most {MAX_BODY} pass", header.body_len);
            let failure = Failure::new(header.id, ErrorCode::TOO_LARGE, text);
            Message::Error(Failure { retry: Retry::Unknown, ..failure })
        }
        _ => Message::Pong(0),
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("ends", &self.state().ends.len()).finish()
    }
}

/// Where the broker is, in texts about a connection.
pub(crate) const PLACE: &str = "(none: a connected pair)";
