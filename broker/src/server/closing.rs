//! Closing sockets that may hold descriptors of strangers, where the kernel doesn't refuse these (before Linux 6.16).
//!
//! A descriptor that no one has received goes with the socket it was sent to, and closing the last copy of it may take as long as its
//! sender likes (`transport/rights` in the protocol crate). So the loop takes none, and looks into each socket before it closes it. A
//! socket with descriptors goes to the closing thread, which does nothing but wait there. As no descriptor is ever received, none is in
//! the table that the kernel closes when the process ends.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use ipc_protocol::transport::{ReadBuffer, Rights, fd};
use nix::sys::signal::SigSet;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};

/// The end of every socket that strangers can send to.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Where sockets with descriptors go; `None` if there are none, because the kernel refuses descriptors.
    thread: Option<Thread>,
    most: usize,
}

/// The closing thread. It is never waited for, and ends once it has nothing left to close.
#[derive(Debug)]
struct Thread {
    /// Bounded by [`Closing::is_full`].
    queue: Sender<Work>,
    waiting: Arc<Waiting>,
    buffer: ReadBuffer,
}

/// What the thread has been given and isn't done with.
#[derive(Debug, Default)]
struct Waiting {
    sockets: AtomicUsize,
    datagrams: AtomicUsize,
}

#[derive(Debug)]
enum Work {
    /// Close a socket.
    Close(OwnedFd),
    /// Take the next datagram from a socket if descriptors come with it, and close these.
    Discard(OwnedFd),
}

impl Closing {
    /// Starts the closing thread if it is needed. Up to `most` sockets may wait for it.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(crate) fn start(rights: Rights, most: usize) -> io::Result<Self> {
        let thread = match rights {
            Rights::Refused => None,
            Rights::Received => Some(Thread::start()?),
        };
        Ok(Self { thread, most })
    }

    /// What becomes of descriptors that are sent to the broker.
    pub(crate) fn rights(&self) -> Rights {
        match self.thread {
            Some(_) => Rights::Received,
            None => Rights::Refused,
        }
    }

    /// Whether no further connection may be accepted, because too many sockets wait.
    pub(crate) fn is_full(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.waiting.sockets.load(Ordering::Relaxed) >= self.most)
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, socket: OwnedFd) {
        if let Some(thread) = &mut self.thread
            && !thread.empty(&socket)
        {
            thread.close(socket);
        }
    }

    /// Closes a listening socket, and the connections that wait to be accepted, which the kernel would close with it.
    pub(crate) fn close_listener(&mut self, listener: OwnedFd) {
        if self.thread.is_some() && shutdown(&listener, Shutdown::Both).is_ok() {
            while let Ok(socket) = accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                self.close(socket);
            }
        }
    }

    /// Closes a datagram socket.
    pub(crate) fn close_datagrams(&mut self, socket: OwnedFd) {
        if let Some(thread) = &self.thread {
            thread.close(socket);
        }
    }

    /// Has the next datagram discarded, with which descriptors come. That takes a while. False if it can't begin yet.
    pub(crate) fn discard_datagram(&self, socket: &impl AsFd) -> bool {
        if let Some(thread) = &self.thread
            && thread.waiting.datagrams.load(Ordering::Acquire) == 0
            && let Ok(copy) = socket.as_fd().try_clone_to_owned()
        {
            thread.waiting.datagrams.fetch_add(1, Ordering::Relaxed);
            thread.give(Work::Discard(copy));
            return true;
        }
        false
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (queue, work) = mpsc::channel();
        let waiting = Arc::new(Waiting::default());
        let done = Arc::clone(&waiting);
        thread::Builder::new().name("closing".to_owned()).stack_size(STACK).spawn(move || run(&work, &done))?;
        Ok(Self { queue, waiting, buffer: ReadBuffer::new() })
    }

    /// Empties a connection for good. False if descriptors have come, or may have.
    fn empty(&mut self, socket: &OwnedFd) -> bool {
        let _ = shutdown(socket, Shutdown::Both); // it fails only for what isn't connected
        self.buffer.empty(socket.as_fd()).is_ok()
    }

    fn close(&self, socket: OwnedFd) {
        self.waiting.sockets.fetch_add(1, Ordering::Relaxed);
        self.give(Work::Close(socket));
    }

    fn give(&self, work: Work) {
        // It fails only without a thread, and that lives as long as this does.
        let _ = self.queue.send(work);
    }
}

fn run(work: &Receiver<Work>, waiting: &Waiting) {
    // No signal that is meant for the program around it may find it waiting here.
    let _ = SigSet::all().thread_block();
    while let Ok(next) = work.recv() {
        let done = match next {
            Work::Close(socket) => {
                drop(socket);
                &waiting.sockets
            }
            Work::Discard(socket) => {
                // Only this thread takes a datagram that brings descriptors, so it is still the next one.
                if let Ok(Some(true)) = fd::datagram_brings_descriptors(socket.as_fd()) {
                    let _ = fd::receive_datagram(socket.as_fd(), &mut []);
                }
                &waiting.datagrams
            }
        };
        done.fetch_sub(1, Ordering::Release);
    }
}

/// Bytes of the thread's stack: it closes, and calls nothing else.
const STACK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::{
        io::{IoSlice, Read, Write},
        mem::MaybeUninit,
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixDatagram, UnixListener, UnixStream},
        time::{Duration, Instant},
    };

    use rustix::net::{
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg,
        sockopt::{set_socket_linger, set_socket_passcred},
    };

    use super::*;

    /// A socket that takes an hour to close, as long as the other one lives.
    fn slow() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (reader, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        while (&sender).write(&[0; 65_536]).is_ok() {}
        set_socket_linger(&sender, Some(Duration::from_secs(3_600))).unwrap();
        (sender, reader)
    }

    fn send(through: &impl AsFd, descriptor: impl AsFd) {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        let fds = [descriptor.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(through, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    }

    #[track_caller]
    fn wait_until(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::yield_now();
        }
    }

    #[test]
    fn a_connection_without_descriptors_is_closed_at_once_and_its_peer_reads_on() {
        let mut closing = Closing::start(Rights::Received, 1).unwrap();
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[7; 100_000]).unwrap();
        ours.write_all(b"goodbye").unwrap();
        closing.close(ours.into());
        assert!(!closing.is_full());
        let mut last = String::new();
        theirs.read_to_string(&mut last).unwrap();
        assert_eq!(last, "goodbye");
    }

    #[test]
    fn a_connection_with_a_slow_descriptor_takes_up_room_until_it_is_closed() {
        let mut closing = Closing::start(Rights::Received, 1).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (descriptor, reader) = slow();
        send(&theirs, descriptor);
        closing.close(ours.into());
        assert!(closing.is_full());
        assert!(theirs.read(&mut [0]).map_or(true, |len| len == 0), "its peer sees the end all the same");
        drop(reader);
        wait_until(|| !closing.is_full());
    }

    #[test]
    fn connections_that_were_never_accepted_are_closed_with_their_listener() {
        let directory = tempfile::tempdir().unwrap();
        let mut closing = Closing::start(Rights::Received, 1).unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let client = UnixStream::connect(directory.path().join("s")).unwrap();
        let (descriptor, _reader) = slow();
        send(&client, descriptor);
        closing.close_listener(listener.into());
        assert!(closing.is_full());
        assert!(UnixStream::connect(directory.path().join("s")).is_err());
    }

    #[test]
    fn a_datagram_with_a_descriptor_is_discarded_and_the_next_one_stays() {
        let closing = Closing::start(Rights::Received, 1).unwrap();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        set_socket_passcred(&ours, true).unwrap();
        let (descriptor, _reader) = slow();
        send(&theirs, descriptor);
        theirs.send(b"next").unwrap();
        assert!(closing.discard_datagram(&ours));
        wait_until(|| fd::datagram_brings_descriptors(ours.as_fd()).unwrap() == Some(false));
        assert!(!closing.discard_datagram(&ours), "the thread still waits for the first one");
        assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 4);
    }

    #[test]
    fn no_thread_is_started_where_the_kernel_refuses_descriptors() {
        let closing = Closing::start(Rights::Refused, 0).unwrap();
        assert!(closing.thread.is_none() && !closing.is_full());
    }
}
