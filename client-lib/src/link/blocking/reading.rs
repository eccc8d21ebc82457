//! Reading, by the thread that has the right to: one that waits for its call, or the reading thread of a service.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Instant,
};

use ipc_protocol::{
    limits::MAX_BODY,
    transport::{
        Bell, Inbox, ReadBuffer, Received,
        poll::{self, PollFd, PollFlags},
    },
};

use super::{
    Connection,
    state::{Locked, State},
};
use crate::session::{Inbound, Loss};

/// The right to read, with what reading needs.
pub(crate) struct Receiver {
    pub(super) inbox: Inbox,
    buffer: ReadBuffer,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self { inbox: Inbox::new(MAX_BODY), buffer: ReadBuffer::new() }
    }
}

impl Connection {
    /// Takes the right to read for life: from now on only [`Connection::turn`] reads. `None` if a thread reads.
    pub(crate) fn claim(&self) -> Option<Box<Receiver>> {
        self.lock().receiver.take()
    }

    /// Says that the calling thread is the one that reads for life: it must never wait for a call.
    pub(crate) fn read_here(&self) {
        self.lock().reading_thread = Some(thread::current().id());
    }

    /// Waits for the broker, reads once, and swaps out what it wants of a service. Calls that came right behind the answer to the
    /// registration were read with it, and are not waited for. Ends early when `bell` rings or the time comes.
    ///
    /// # Errors
    /// The loss of the connection; `inbound` is valid all the same.
    pub(crate) fn turn(
        &self,
        receiver: &mut Receiver,
        inbound: &mut Vec<Inbound>,
        bell: &Bell,
        until: Option<Instant>,
    ) -> Result<(), Loss> {
        let mut state = self.lock();
        state.session.take_inbound(inbound);
        if !inbound.is_empty() {
            return Ok(());
        }
        let interest = state.interest();
        drop(state);
        let mut fds = [PollFd::new(&self.wire, interest), PollFd::new(bell, PollFlags::IN)];
        let polled = poll::wait(&mut fds, self.wire.until(until));
        let ready = fds[0].revents();
        let mut state = self.receive(receiver, polled, ready);
        self.flush(&mut state);
        state.session.take_inbound(inbound);
        state.session.loss().cloned().map_or(Ok(()), Err)
    }

    /// What the thread that reads for life waits for, and whether to read or to write.
    pub(crate) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.wire.as_fd(), self.lock().interest())
    }

    /// poll first, then read: a reader that blocks in read(2) is woken once more, when the broker takes the request out of the
    /// socket's buffer.
    pub(super) fn read_round<'a>(
        &'a self,
        state: Locked<'a>,
        mut receiver: Box<Receiver>,
        until: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> (Locked<'a>, bool) {
        let socket = PollFd::new(&self.wire, state.interest());
        drop(state);
        let until = self.wire.until(until);
        let (polled, ready, interrupted) = match interrupt {
            None => {
                let mut fds = [socket];
                (poll::wait(&mut fds, until), fds[0].revents(), false)
            }
            Some(interrupt) => {
                let mut fds = [socket, PollFd::from_borrowed_fd(interrupt, PollFlags::IN)];
                (poll::wait(&mut fds, until), fds[0].revents(), !fds[1].revents().is_empty())
            }
        };
        let mut state = self.receive(&mut receiver, polled, ready);
        state.receiver = Some(receiver);
        (state, interrupted)
    }

    /// Reads once if poll(2) says so, and applies what came.
    fn receive(&self, receiver: &mut Receiver, polled: io::Result<usize>, ready: PollFlags) -> Locked<'_> {
        let readable = ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        let read = match polled {
            Ok(_) if readable || self.wire.is_due() => self.wire.read(&mut receiver.inbox, &mut receiver.buffer),
            Ok(_) => Ok(Received::Nothing),
            Err(error) => Err(error),
        };
        let mut state = self.lock();
        self.apply(&mut state, receiver, read);
        state
    }

    /// Applies the result of a read, and tells whether another might bring more.
    fn apply(&self, state: &mut State, receiver: &mut Receiver, read: io::Result<Received>) -> bool {
        match read {
            Ok(Received::Bytes(_)) => {
                let gathered = state.session.end();
                self.hand_out(state, receiver);
                // Pongs and refusals are owed at once: this thread may have its reply and never come back.
                if state.session.end() > gathered {
                    self.flush(state);
                }
            }
            Ok(Received::Nothing) => return false,
            Ok(Received::End) => self.lose(state, "the broker closed it"),
            Err(error) => self.lose(state, &error.to_string()),
        }
        state.session.loss().is_none()
    }

    fn hand_out(&self, state: &mut State, receiver: &mut Receiver) {
        if let Err(violation) = state.receive(receiver) {
            let _ = self.transmit(&mut state.session); // it is told if it listens; the connection ends either way
            self.lose(state, &format!("the broker broke the protocol: {violation}"));
        } else if state.session.loss().is_some() {
            self.shut_down();
            state.wake_all();
        }
    }

    /// Reads what is there, without waiting, unless another thread reads.
    pub(super) fn catch_up(&self, state: &mut State) {
        let Some(mut receiver) = state.receiver.take() else { return };
        for _ in 0..CATCH_UP {
            let read = self.wire.read(&mut receiver.inbox, &mut receiver.buffer);
            if !self.apply(state, &mut receiver, read) {
                break;
            }
        }
        state.receiver = Some(receiver);
    }
}

/// Most reads before a call is written: 1 MiB.
const CATCH_UP: usize = 32;
