//! The doors: the two sockets that every user can reach.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use ipc_protocol::{ErrorCode, Goodbye, Message, transport::Rights};
use rustix::{
    io::Errno,
    net::{SendFlags, SocketFlags, accept_with, send, sockopt::set_socket_oobinline},
};

use super::{
    closing::Closing,
    datagrams::{Arrival, Datagrams},
    decisions::Decisions,
    log::Log,
    outlets::Fd,
    poller::{Interest, Poller, Source},
    site::Sockets,
};
use crate::{
    core::{Input, Moment, Precedence, ReturnAddress},
    front::datagram,
};

/// The listening stream socket and the datagram socket.
#[derive(Debug)]
pub(crate) struct Doors {
    stream: Option<Door>,
    datagrams: Option<Datagrams>,
    /// When accepting resumes, after the descriptors ran out.
    resume: Option<Moment>,
    /// When to look at the datagrams again, after one with descriptors was found.
    resume_datagrams: Option<Moment>,
}

impl Doors {
    /// Opens the doors: the poller reports when they are readable.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn open(sockets: Sockets, poller: &Poller, closing: &mut Closing) -> io::Result<Self> {
        let mut doors = Self { stream: None, datagrams: None, resume: None, resume_datagrams: None };
        doors.replace(sockets, poller, closing)?;
        Ok(doors)
    }

    /// Replaces the sockets.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(crate) fn replace(&mut self, sockets: Sockets, poller: &Poller, closing: &mut Closing) -> io::Result<()> {
        if let Some(stream) = sockets.stream {
            poller.add(&stream, Source::Listener, Interest::READ)?;
            self.close(poller, closing);
            self.stream = Some(Door::new(stream));
        }
        if let Some(datagrams) = sockets.datagram {
            poller.add(&datagrams, Source::Datagrams, Interest::READ)?;
            self.close_datagrams(poller, closing);
            self.datagrams = Some(Datagrams::new(datagrams, closing.rights()));
        }
        Ok(())
    }

    /// Accepts the next connection. Without a descriptor for it accepting pauses, because the poller would report the listener, which
    /// stays ready, again and again.
    pub(crate) fn accept(
        &mut self,
        now: Moment,
        poller: &Poller,
        closing: &mut Closing,
        log: &mut Log,
    ) -> Option<OwnedFd> {
        let door = self.stream.as_mut()?;
        let visitor = if closing.is_full() { Ok(Visitor::NoRoom) } else { door.accept(closing) };
        let reason = match visitor {
            Ok(Visitor::Accepted(socket)) => return Some(socket),
            Ok(Visitor::None) => return None,
            Ok(Visitor::NoDescriptors) => "no descriptor is free".to_owned(),
            Ok(Visitor::NoRoom) => "connections with descriptors that can't be closed have piled up".to_owned(),
            Err(error) => error.to_string(),
        };
        log.trouble(now, format_args!("event=accept_paused reason={reason:?}"));
        self.watch(Interest::NOTHING, poller, log);
        self.resume = Some(now.after(ACCEPT_PAUSE));
        None
    }

    /// Accepts nothing for a moment, so that those who connect in a loop are accepted many at a time: to wake up for each of them would
    /// cost as much again.
    pub(crate) fn rest(&mut self, now: Moment, poller: &Poller, log: &mut Log) {
        if self.resume.is_none() {
            self.watch(Interest::NOTHING, poller, log);
            self.resume = Some(now.after(ACCEPT_REST));
        }
    }

    /// Resumes accepting now, because a descriptor is free. A rest is over soon in any case.
    pub(crate) fn descriptor_is_free(&mut self, now: Moment) {
        if self.resume.is_some_and(|resume| resume > now.after(ACCEPT_REST)) {
            self.resume = Some(now);
        }
    }

    /// Resumes accepting, and receiving datagrams, when the pause is over.
    pub(crate) fn resume(&mut self, now: Moment, poller: &Poller, log: &mut Log) {
        if self.resume.is_some_and(|moment| moment <= now) {
            self.resume = None;
            self.watch(Interest::READ, poller, log);
        }
        if self.resume_datagrams.is_some_and(|moment| moment <= now) {
            self.resume_datagrams = None;
            self.watch_datagrams(Interest::READ, poller);
        }
    }

    /// When [`Doors::resume`] has something to do.
    pub(crate) fn next_resume(&self) -> Option<Moment> {
        Moment::first(self.resume, self.resume_datagrams)
    }

    /// Accepts no further connections.
    pub(crate) fn close(&mut self, poller: &Poller, closing: &mut Closing) {
        if let Some(door) = self.stream.take() {
            poller.remove(&door);
            closing.close_listener(door.listener);
        }
    }

    /// Receives no further datagrams.
    pub(crate) fn close_datagrams(&mut self, poller: &Poller, closing: &mut Closing) {
        if let Some(datagrams) = self.datagrams.take() {
            poller.remove(&datagrams);
            closing.close_datagrams(datagrams.into());
        }
    }

    /// Receives the queued datagrams, up to a limit. The next one stays where it is while the descriptors of another are closed,
    /// because there is no telling which of the two is next.
    pub(crate) fn receive_datagrams(
        &mut self,
        now: Moment,
        poller: &Poller,
        closing: &Closing,
        decisions: &mut Decisions,
    ) {
        let Some(datagrams) = &mut self.datagrams else { return };
        for _ in 0..DATAGRAMS {
            match datagrams.receive() {
                Ok(Arrival::Datagram(bytes, sender, reply_to)) => {
                    decisions.tell(now, datagram::decode(bytes, sender, reply_to));
                }
                Ok(Arrival::Malformed) => decisions.tell(now, Input::DatagramMalformed),
                Ok(Arrival::Descriptors) => {
                    if closing.discard_datagram(datagrams) {
                        decisions.tell(now, Input::DatagramMalformed);
                    }
                    self.resume_datagrams = Some(now.after(DATAGRAM_PAUSE));
                    return self.watch_datagrams(Interest::NOTHING, poller);
                }
                Ok(Arrival::Nothing) | Err(_) => return,
            }
        }
    }

    /// Whether there is a datagram socket.
    pub(crate) fn answer_datagrams(&self) -> bool {
        self.datagrams.is_some()
    }

    /// Answers a datagram. False if the receiver's socket does not take the answer.
    pub(crate) fn answer(
        &mut self,
        to: &ReturnAddress,
        message: &ipc_protocol::wire::Message<Fd>,
        precedence: Precedence,
    ) -> bool {
        self.datagrams.as_mut().is_some_and(|datagrams| datagrams.send(to, message, precedence))
    }

    fn watch(&self, interest: Interest, poller: &Poller, log: &mut Log) {
        if let Some(door) = &self.stream
            && let Err(error) = poller.modify(door, Source::Listener, interest)
        {
            log.line(format_args!("event=listener_lost reason={:?}", error.to_string()));
        }
    }

    fn watch_datagrams(&self, interest: Interest, poller: &Poller) {
        if let Some(datagrams) = &self.datagrams {
            let _ = poller.modify(datagrams, Source::Datagrams, interest); // it fails only for what isn't registered
        }
    }
}

/// The result of accepting.
#[derive(Debug)]
enum Visitor {
    /// A connection.
    Accepted(OwnedFd),
    /// No client waits.
    None,
    /// The process has no descriptor left. One client was refused, and the others wait until one is free.
    NoDescriptors,
    /// Clients wait until connections are closed that hold descriptors.
    NoRoom,
}

/// The listening stream socket.
#[derive(Debug)]
struct Door {
    listener: OwnedFd,
    reserve: Option<File>,
}

impl Door {
    fn new(listener: OwnedFd) -> Self {
        Self { listener, reserve: reserve() }
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// Those of accept4(2), except that no client waits or no descriptor is free.
    fn accept(&mut self, closing: &mut Closing) -> io::Result<Visitor> {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) if closing.rights() == Rights::Refused => return Ok(Visitor::Accepted(socket)),
                Ok(socket) => {
                    // A byte out of band may bring descriptors too, and reading past it would close them.
                    set_socket_oobinline(&socket, true)?;
                    return Ok(Visitor::Accepted(socket));
                }
                Err(Errno::AGAIN) => return Ok(Visitor::None),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) => return Ok(self.refuse_one(closing)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Closes the reserve for a moment, so that one client receives a reason instead of waiting in the backlog.
    fn refuse_one(&mut self, closing: &mut Closing) -> Visitor {
        self.reserve = None;
        if let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let text = "the broker has no descriptor left for another connection; try again later".to_owned();
            say_goodbye(socket.as_fd(), Goodbye { code: ErrorCode::BUSY, text });
            closing.close(socket);
        }
        self.reserve = reserve();
        Visitor::NoDescriptors
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Sends a goodbye on a connection that is closed right after. It is lost if the socket does not take it at once.
pub(crate) fn say_goodbye(socket: BorrowedFd<'_>, goodbye: Goodbye) {
    let _ = send(socket, &Message::Goodbye(goodbye).to_vec(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

/// The number of datagrams received in one turn.
const DATAGRAMS: usize = 64;
/// The pause in receiving datagrams while the descriptors of one are closed.
const DATAGRAM_PAUSE: Duration = Duration::from_millis(5);
/// The rest between two rounds of accepting those who connect in a loop.
const ACCEPT_REST: Duration = Duration::from_micros(500);
/// The pause in accepting when no descriptor is free. It ends early when one becomes free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::{
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixListener, UnixStream},
        },
    };

    use super::*;

    fn refused() -> Closing {
        Closing::start(Rights::Refused, 0).unwrap()
    }

    fn doors() -> (Doors, Poller, SocketAddr) {
        static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let address = SocketAddr::from_abstract_name(format!("ipcd-doors-{}-{number}", std::process::id())).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let poller = Poller::new().unwrap();
        let sockets = Sockets { stream: Some(listener.into()), datagram: None };
        (Doors::open(sockets, &poller, &mut refused()).unwrap(), poller, address)
    }

    #[test]
    fn connections_are_accepted_one_by_one_until_none_waits() {
        let (mut doors, poller, address) = doors();
        let _clients = [(); 2].map(|()| UnixStream::connect_addr(&address).unwrap());
        let mut accept = || doors.accept(Moment(0), &poller, &mut refused(), &mut Log::new(false)).is_some();
        assert_eq!([accept(), accept(), accept()], [true, true, false]);
        assert_eq!(doors.next_resume(), None);
    }

    #[test]
    fn a_closed_door_accepts_nothing() {
        let (mut doors, poller, address) = doors();
        let _client = UnixStream::connect_addr(&address).unwrap();
        doors.close(&poller, &mut refused());
        assert!(doors.accept(Moment(0), &poller, &mut refused(), &mut Log::new(false)).is_none());
    }

    #[test]
    fn one_caller_is_told_when_no_descriptor_is_free() {
        let (mut doors, _, address) = doors();
        let mut client = UnixStream::connect_addr(&address).unwrap();
        let visitor = doors.stream.as_mut().unwrap().refuse_one(&mut refused());
        assert!(matches!(visitor, Visitor::NoDescriptors));
        let mut goodbye = Vec::new();
        client.read_to_end(&mut goodbye).unwrap();
        assert!(String::from_utf8_lossy(&goodbye).contains("no descriptor left"));
    }

    #[test]
    fn accepting_that_paused_goes_on_when_a_descriptor_is_free() {
        let (mut doors, poller, _) = doors();
        doors.resume = Some(Moment(50_000));
        doors.resume(Moment(100), &poller, &mut Log::new(false));
        assert_eq!(doors.next_resume(), Some(Moment(50_000)));
        doors.descriptor_is_free(Moment(200));
        doors.resume(Moment(200), &poller, &mut Log::new(false));
        assert_eq!(doors.next_resume(), None);
    }
}
