//! The loop: one thread, and in each turn reads before writes.
//!
//! ```text
//! wait -> accept, datagrams, signals -> read each ready connection once -> route its frames, 16 at a time, in rounds
//!      -> expire deadlines -> write each connection that has something queued, once -> wait
//! ```

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use ipc_protocol::{
    Goodbye, Incoming, Message, Violation,
    transport::{Address, Outbox, Pool, ReadBuffer, Received, credentials, socket},
};

use super::{
    claim::{Claim, ClaimError, SocketFile},
    clock::Clock,
    config::Config,
    connection::{Connection, Connections, Reading},
    datagrams::{Arrival, Datagrams},
    doors::{Door, Visitor, say_goodbye},
    inherited::Inherited,
    log::Log,
    poller::{Interest, Poller, Ready, Source},
    signals::{Request, Signals},
};
use crate::{
    core::{Limits, Moment, Output, Outputs, PeerId, Policy, Router},
    front,
};

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The path cannot be had.
    #[error("{0}")]
    Claim(#[from] ClaimError),
    /// The system says no.
    #[error("cannot {operation}: {source}")]
    Io {
        /// What was tried, on what.
        operation: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A broker that listens.
#[derive(Debug)]
pub struct Server {
    config: Config,
    router: Router,
    out: Outputs,
    connections: Connections,
    poller: Poller,
    clock: Clock,
    log: Log,
    door: Option<Door>,
    datagrams: Option<Datagrams>,
    signals: Option<Signals>,
    stop: Option<OwnedFd>,
    buffer: ReadBuffer,
    pool: Pool,
    /// Connections with something queued, to be written at the end of the turn.
    dirty: Vec<PeerId>,
    /// Connections that were read and still have frames to be routed.
    unrouted: VecDeque<PeerId>,
    /// Connections whose begun frame has to wait for its user's quota.
    parked: Vec<PeerId>,
    /// Bytes that the router held when they were last refused.
    held_when_parked: u64,
    /// Connections with a begun frame, in the order of their deadlines.
    frame_clock: VecDeque<(Moment, PeerId)>,
    /// Accepting goes on at this time: there were no descriptors.
    resume_accept: Option<Moment>,
    phase: Phase,
    /// Removed when the server ends, before the claim is given up.
    files: Vec<SocketFile>,
    _claim: Option<Claim>,
}

/// How far the broker's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Told to stop: calls may finish until then.
    Draining(Moment),
    Stopped,
}

impl Server {
    /// Listens at the address of `config`. Connections are accepted from now on, and served once it runs.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::with_sockets(config, Inherited::default())
    }

    /// Like [`Server::bind`], on the sockets that a service manager handed down (`LISTEN_FDS`), if it did.
    ///
    /// # Errors
    /// [`StartError`] says what is in the way.
    pub fn bind_or_inherit(config: Config) -> Result<Self, StartError> {
        let inherited = Inherited::take(|name| std::env::var(name).ok()).map_err(failed("take inherited sockets"))?;
        Self::with_sockets(config, inherited)
    }

    /// Serves until `stop` becomes readable; then every call ends, every peer hears goodbye, and the sockets are gone.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(mut self, stop: OwnedFd) -> io::Result<()> {
        self.poller.add(&stop, Source::Stop, Interest::READ)?;
        self.stop = Some(stop);
        self.serve()
    }

    /// Serves until a TERM or INT comes. Calls then may finish for 5 s (`drain_ms`); a second signal ends them at once.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run_until_signal(mut self, signals: Signals) -> io::Result<()> {
        self.poller.add(&signals, Source::Signals, Interest::READ)?;
        self.signals = Some(signals);
        self.serve()
    }

    fn with_sockets(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let limits = fit_to_descriptors(config.limits.clone());
        let policy = Policy::new(rustix::process::geteuid().as_raw());
        let router = Router::new(limits, policy, concat!("ipcd ", env!("CARGO_PKG_VERSION")));
        let mut server = Self {
            router,
            out: Outputs::new(),
            connections: Connections::default(),
            poller: Poller::new().map_err(failed("make an epoll instance"))?,
            clock: Clock::start(),
            log: Log::new(config.verbose),
            door: None,
            datagrams: None,
            signals: None,
            stop: None,
            buffer: ReadBuffer::new(),
            pool: Pool::default(),
            dirty: Vec::new(),
            unrouted: VecDeque::new(),
            parked: Vec::new(),
            held_when_parked: 0,
            frame_clock: VecDeque::new(),
            resume_accept: None,
            phase: Phase::Serving,
            files: Vec::new(),
            _claim: None,
            config,
        };
        server.open_doors(inherited)?;
        Ok(server)
    }

    fn open_doors(&mut self, inherited: Inherited) -> Result<(), StartError> {
        let (stream, datagram) = match inherited.stream {
            Some(stream) => (stream, inherited.datagram),
            None => self.bind_sockets()?,
        };
        self.poller.add(&stream, Source::Listener, Interest::READ).map_err(failed("watch the stream socket"))?;
        self.door = Some(Door::new(stream));
        if let Some(datagram) = datagram {
            self.poller
                .add(&datagram, Source::Datagrams, Interest::READ)
                .map_err(failed("watch the datagram socket"))?;
            self.datagrams = Some(Datagrams::new(datagram));
        }
        Ok(())
    }

    fn bind_sockets(&mut self) -> Result<(OwnedFd, Option<OwnedFd>), StartError> {
        let address = self.config.socket.clone();
        if let Address::Path(path) = &address {
            self._claim = Some(Claim::take(path)?);
        }
        let backlog = i32::try_from(self.router.limits().backlog).unwrap_or(i32::MAX);
        let stream = socket::listen_stream(&address, SOCKET_MODE, backlog)
            .map_err(|source| failed(&format!("listen at {address}"))(source))?;
        self.remember_file(&address)?;
        let Some(address) = address.datagram().filter(|_| self.config.datagram) else { return Ok((stream, None)) };
        let datagram = socket::bind_datagram(&address, SOCKET_MODE)
            .map_err(|source| failed(&format!("bind the datagram socket at {address}"))(source))?;
        self.remember_file(&address)?;
        Ok((stream, Some(datagram)))
    }

    fn remember_file(&mut self, address: &Address) -> Result<(), StartError> {
        if let Address::Path(path) = address {
            self.files.push(SocketFile::of(path).map_err(failed("look at the socket"))?);
        }
        Ok(())
    }

    fn serve(&mut self) -> io::Result<()> {
        while self.phase != Phase::Stopped {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.poller.wait(self.patience())?;
        let now = self.clock.now();
        for at in 0..self.poller.count() {
            if let Some(ready) = self.poller.ready(at) {
                self.serve_source(now, ready)?;
            }
        }
        self.route_rounds(now);
        self.expire(now);
        self.flush(now);
        if self.may_unpark() {
            self.unpark(now);
            self.flush(now);
        }
        self.advance_phase(now);
        Ok(())
    }

    fn serve_source(&mut self, now: Moment, ready: Ready) -> io::Result<()> {
        match ready.source {
            Source::Listener => self.accept(now),
            Source::Datagrams => self.receive_datagrams(now),
            Source::Signals => return self.take_signals(now),
            Source::Stop => self.stop(now),
            Source::Peer(id) => self.serve_peer(now, id, ready),
        }
        Ok(())
    }

    fn serve_peer(&mut self, now: Moment, id: PeerId, ready: Ready) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if ready.write {
            mark_dirty(connection, &mut self.dirty);
        }
        match connection.reading {
            Reading::Open if ready.read => self.read(now, id),
            Reading::Parked | Reading::Ended if ready.hung_up => self.close(now, id),
            Reading::Open | Reading::Parked | Reading::Ended => {}
        }
    }

    /// Reads once from a connection: at most [`ReadBuffer::READ_LEN`] bytes, or the rest of a long frame.
    fn read(&mut self, now: Moment, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Connection { socket, inbox, .. } = connection;
        match inbox.read(socket.as_fd(), &mut self.buffer) {
            Ok(Received::Bytes(_)) => self.unrouted.push_back(id),
            Ok(Received::Nothing) => {}
            Ok(Received::End) => self.end_reading(now, id),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.router.violate(id, &Violation::UnexpectedFds, &mut self.out);
                self.apply(now);
            }
            Err(_) => self.close(now, id), // ECONNRESET: it closed with bytes unread
        }
    }

    /// Routes the frames that were read: each connection's next few, then those of the next one, until none are left.
    fn route_rounds(&mut self, now: Moment) {
        while let Some(id) = self.unrouted.pop_front() {
            let has_more = (0..self.router.limits().turn_frames).all(|_| self.route_frame(now, id));
            self.apply(now);
            if has_more {
                self.unrouted.push_back(id);
            } else {
                self.watch_frame(now, id);
            }
        }
    }

    /// Routes the next frame of a connection; false if it has none left for now.
    fn route_frame(&mut self, now: Moment, id: PeerId) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        match connection.inbox.next() {
            Ok(Some(Incoming::Frame(frame))) => {
                self.router.release(id);
                front::native::receive(&mut self.router, now, id, frame, &mut self.out);
            }
            Ok(Some(Incoming::TooLarge(header))) => self.router.receive_too_large(now, id, header, &mut self.out),
            Ok(Some(Incoming::Assembly(len))) if self.router.grant(id, len) => {
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.inbox.decoder().assemble();
                }
            }
            Ok(Some(Incoming::Assembly(_))) => {
                self.park(id);
                return false;
            }
            Ok(None) => return false,
            Err(violation) => {
                self.router.violate(id, &violation, &mut self.out);
                return false;
            }
        }
        true
    }

    /// Stops reading from a connection until its user's quota has room for the frame that it has begun.
    fn park(&mut self, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.inbox.decoder().detach();
        connection.reading = Reading::Parked;
        connection.mid_frame_since = None; // it is the broker that is slow
        mark_dirty(connection, &mut self.dirty);
        self.parked.push(id);
        self.held_when_parked = self.router.bytes_held();
    }

    /// Whether bytes were given back since the parked connections last tried.
    fn may_unpark(&self) -> bool {
        !self.parked.is_empty() && self.router.bytes_held() < self.held_when_parked
    }

    /// Lets parked connections try again.
    fn unpark(&mut self, now: Moment) {
        for id in std::mem::take(&mut self.parked) {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.reading = Reading::Open;
            mark_dirty(connection, &mut self.dirty);
            self.unrouted.push_back(id);
        }
        self.route_rounds(now);
        self.held_when_parked = self.router.bytes_held();
    }

    /// A begun frame must be complete in time.
    fn watch_frame(&mut self, now: Moment, id: PeerId) {
        let frame_time = Duration::from_millis(self.router.limits().frame_ms);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.inbox.decoder().mid_frame() || connection.reading != Reading::Open {
            connection.mid_frame_since = None;
            return;
        }
        connection.mid_frame_since.get_or_insert(now);
        if !connection.on_clock {
            connection.on_clock = true;
            self.frame_clock.push_back((now.after(frame_time), id));
        }
    }

    fn expire_frames(&mut self, now: Moment) {
        let frame_time = Duration::from_millis(self.router.limits().frame_ms);
        while let Some((deadline, id)) = self.frame_clock.front().copied()
            && deadline <= now
        {
            self.frame_clock.pop_front();
            let Some(connection) = self.connections.get_mut(id) else { continue };
            match connection.mid_frame_since.map(|since| since.after(frame_time)) {
                None => connection.on_clock = false,
                Some(deadline) if deadline > now => self.frame_clock.push_back((deadline, id)), // a newer frame
                Some(_) => {
                    let violation = Violation::TooSlow("the rest of a frame", frame_time.as_secs());
                    self.router.violate(id, &violation, &mut self.out);
                }
            }
        }
    }

    fn expire(&mut self, now: Moment) {
        self.expire_frames(now);
        if self.router.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.router.expire(now, &mut self.out);
        }
        if self.resume_accept.is_some_and(|moment| moment <= now) {
            self.resume_accept = None;
            self.watch_door(Interest::READ);
        }
        self.apply(now);
    }

    /// Does what the router decided.
    fn apply(&mut self, now: Moment) {
        let mut out = std::mem::take(&mut self.out);
        while !out.is_empty() {
            for output in out.drain(..) {
                self.carry_out(now, output);
            }
            std::mem::swap(&mut out, &mut self.out); // a cut connection's callers hear of it
        }
        self.out = out; // keeps its memory
    }

    fn carry_out(&mut self, now: Moment, output: Output) {
        match output {
            Output::Send { to, message } => {
                let Some(connection) = self.connections.get_mut(to) else { return };
                connection.outbox.push(&message, &mut self.pool);
                mark_dirty(connection, &mut self.dirty);
            }
            Output::SendDatagram { to, message } => {
                let taken = self.datagrams.as_ref().is_some_and(|datagrams| datagrams.send(&to, &message));
                if !taken {
                    self.router.datagram_dropped();
                }
            }
            Output::Cut { peer, goodbye } => self.cut(now, peer, goodbye),
            Output::Log(event) => self.log.event(now, &event),
        }
    }

    /// Writes each connection that has something queued, once, and copies out what it does not take.
    fn flush(&mut self, now: Moment) {
        while !self.dirty.is_empty() {
            let mut dirty = std::mem::take(&mut self.dirty);
            for id in dirty.drain(..) {
                self.flush_connection(now, id);
            }
            if self.dirty.is_empty() {
                self.dirty = dirty; // keeps its memory
            }
            self.apply(now); // room was made: calls that waited for it are delivered
        }
    }

    fn flush_connection(&mut self, now: Moment, id: PeerId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.dirty = false;
        let Connection { socket, outbox, .. } = connection;
        let Ok(written) = flush_outbox(outbox, socket, &mut self.pool) else {
            return self.close(now, id); // EPIPE, ECONNRESET: nobody is there
        };
        self.router.sent(now, id, written, &mut self.out);
        let wanted = connection.wanted();
        if wanted != connection.interest {
            connection.interest = wanted;
            if self.poller.modify(&connection.socket, Source::Peer(id), wanted).is_err() {
                return self.close(now, id);
            }
        }
        if connection.reading == Reading::Ended && connection.outbox.is_empty() && !self.router.awaits_answers(id) {
            self.close(now, id);
        }
    }

    /// The other side has finished sending. It may still wait for answers; a service can give none any more.
    fn end_reading(&mut self, now: Moment, id: PeerId) {
        let keeps = self.router.awaits_answers(id) && !self.router.is_service(id);
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !keeps && connection.outbox.is_empty() {
            return self.close(now, id);
        }
        if self.router.is_service(id) {
            return self.close(now, id);
        }
        connection.reading = Reading::Ended;
        connection.mid_frame_since = None;
        mark_dirty(connection, &mut self.dirty);
    }

    fn cut(&mut self, now: Moment, id: PeerId, goodbye: Goodbye) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.outbox.push(&Message::Goodbye(goodbye), &mut self.pool);
            let Connection { socket, outbox, .. } = connection;
            let _ = flush_outbox(outbox, socket, &mut self.pool); // what it does not take now, it does without
        }
        self.close(now, id);
    }

    fn close(&mut self, now: Moment, id: PeerId) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        self.log.detail(format_args!("event=closed connection={id:?}"));
        connection.outbox.discard(&mut self.pool);
        self.poller.remove(&connection.socket);
        drop(connection);
        self.router.disconnect(id, &mut self.out);
        if self.resume_accept.is_some() {
            self.resume_accept = Some(now); // a descriptor is free
        }
    }

    fn accept(&mut self, now: Moment) {
        for _ in 0..ACCEPTS {
            let Some(door) = &mut self.door else { return };
            match door.accept() {
                Ok(Visitor::Accepted(socket)) => self.admit(now, socket),
                Ok(Visitor::Nobody) => return,
                Ok(Visitor::NoDescriptors) => return self.pause_accept(now, "no descriptor is free"),
                Err(error) => return self.pause_accept(now, &error.to_string()),
            }
        }
    }

    fn admit(&mut self, now: Moment, socket: OwnedFd) {
        let fd = socket.as_fd();
        // A socket whose peer the kernel does not name is one that nobody can answer for.
        let Ok(identity) = credentials::of_peer(fd) else { return };
        self.log.detail(format_args!("event=connected uid={} pid={:?}", identity.uid, identity.pid));
        let id = match self.router.connect(now, identity, &mut self.out) {
            Ok(id) => id,
            Err(goodbye) => return say_goodbye(fd, goodbye),
        };
        let max_body = u32::try_from(self.router.limits().body_bytes).unwrap_or(u32::MAX);
        if self.poller.add(&socket, Source::Peer(id), Interest::READ).is_err() {
            return self.router.disconnect(id, &mut self.out); // ENOSPC: no epoll watch is left for this user
        }
        self.connections.insert(Connection::new(id, socket, max_body));
    }

    /// Stops accepting for a moment: the listener stays ready, and would be told of again and again.
    fn pause_accept(&mut self, now: Moment, reason: &str) {
        self.log.line(format_args!("event=accept_paused reason={reason:?}"));
        self.watch_door(Interest { read: false, write: false });
        self.resume_accept = Some(now.after(ACCEPT_PAUSE));
    }

    fn watch_door(&mut self, interest: Interest) {
        if let Some(door) = &self.door
            && let Err(error) = self.poller.modify(door, Source::Listener, interest)
        {
            self.log.line(format_args!("event=listener_lost reason={:?}", error.to_string()));
        }
    }

    fn receive_datagrams(&mut self, now: Moment) {
        for _ in 0..DATAGRAMS {
            let Some(datagrams) = &mut self.datagrams else { return };
            match datagrams.receive() {
                Ok(Arrival::Datagram(bytes, sender, reply_to)) => {
                    front::datagram::receive(&mut self.router, now, bytes, (sender, reply_to), &mut self.out);
                }
                Ok(Arrival::Malformed) => self.router.datagram_malformed(),
                Ok(Arrival::Nothing) | Err(_) => break,
            }
        }
        self.apply(now);
    }

    fn take_signals(&mut self, now: Moment) -> io::Result<()> {
        while let Some(request) = self.signals.as_ref().map_or(Ok(None), Signals::next)? {
            match request {
                Request::Reload => self.reload(),
                Request::Stop if self.phase == Phase::Serving => self.drain(now),
                Request::Stop => self.stop(now),
            }
        }
        Ok(())
    }

    /// New limits, or the old ones and a line that says why.
    fn reload(&mut self) {
        match self.config.reload() {
            Ok(limits) => {
                self.router.set_limits(fit_to_descriptors(limits));
                self.log.line(format_args!("event=reloaded"));
            }
            Err(error) => self.log.line(format_args!("event=reload_failed kept=old reason={:?}", error.to_string())),
        }
    }

    fn drain(&mut self, now: Moment) {
        let patience = Duration::from_millis(self.router.limits().drain_ms);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]); // no service manager: nobody to tell
        self.phase = Phase::Draining(now.after(patience));
        if let Some(door) = self.door.take() {
            self.poller.remove(&door);
        }
        self.files.clear();
        self.router.drain(&mut self.out);
        self.apply(now);
    }

    fn advance_phase(&mut self, now: Moment) {
        if let Phase::Draining(until) = self.phase
            && (now >= until || self.router.is_drained())
        {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Moment) {
        self.router.stop(&mut self.out);
        self.apply(now);
        self.phase = Phase::Stopped;
    }

    /// How long nothing needs to be done.
    fn patience(&self) -> Option<Duration> {
        if self.may_unpark() {
            return Some(Duration::ZERO);
        }
        let drained = match self.phase {
            Phase::Draining(until) => Some(until),
            Phase::Serving | Phase::Stopped => None,
        };
        let frame = self.frame_clock.front().map(|(deadline, _)| *deadline);
        let next = [self.router.next_deadline(), self.resume_accept, drained, frame].into_iter().flatten().min()?;
        Some(next.since(self.clock.now()))
    }
}

fn mark_dirty(connection: &mut Connection, dirty: &mut Vec<PeerId>) {
    if !connection.dirty {
        connection.dirty = true;
        dirty.push(connection.id);
    }
}

/// Writes what the socket takes; the rest is copied out of the read buffer, which the next turn needs.
fn flush_outbox(outbox: &mut Outbox, socket: &OwnedFd, pool: &mut Pool) -> io::Result<usize> {
    let flushed = outbox.flush(socket.as_fd(), pool)?;
    if flushed.blocked {
        outbox.detach();
    }
    Ok(flushed.written)
}

/// Connections need descriptors: as many as there are, less 256 for everything else. The soft limit is raised as far as it goes.
fn fit_to_descriptors(mut limits: Limits) -> Limits {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return limits };
    let raised = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    limits.connections = limits.connections.min(raised.saturating_sub(DESCRIPTORS_KEPT).max(1));
    limits
}

fn failed(operation: &str) -> impl Fn(io::Error) -> StartError {
    let operation = operation.to_owned();
    move |source| StartError::Io { operation: operation.clone(), source }
}

/// Anybody may connect: policy decides what they may do, and a refusal tells more than EACCES. The directory of the socket is the
/// place to keep others out altogether.
const SOCKET_MODE: u32 = 0o666;
/// Connections accepted in one turn.
const ACCEPTS: usize = 64;
/// Datagrams taken in one turn.
const DATAGRAMS: usize = 64;
/// How long accepting pauses when no descriptor is free, unless one becomes free before.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Descriptors kept for other things than connections: listeners, epoll, files.
const DESCRIPTORS_KEPT: u64 = 256;
