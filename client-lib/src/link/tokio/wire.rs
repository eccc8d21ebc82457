//! A socket with what its futures share: reading and writing without waiting.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Mutex,
    task::Poll,
    time::Instant,
};

use ipc_protocol::{ErrorCode, Retry, transport::Received};
use tokio::{io::unix::AsyncFd, sync::Notify};

use super::{
    super::{channel, socket},
    state::{Locked, State},
};
use crate::session::{Loss, Session};

/// What a connection and its driver share.
pub(super) struct Wire {
    /// The socket, or what tells that there is something to read at the end.
    pub(super) socket: AsyncFd<OwnedFd>,
    /// In place of the socket.
    end: Option<channel::End>,
    /// Where the broker is, for error texts.
    pub(super) place: String,
    pub(super) state: Mutex<State>,
    /// Tells those who wait for room that there is some.
    pub(super) room: Notify,
    /// Tells that the connection has ended.
    pub(super) ended: Notify,
}

/// What a flush found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    Well,
    /// The connection takes no more; calls may have ended.
    Failed,
}

impl Wire {
    /// # Errors
    /// What epoll_ctl(2) says.
    #[allow(
        deprecated,
        reason = "what follows it wants a promise for types that do not own their descriptor; an OwnedFd does"
    )]
    pub(super) fn new(socket: OwnedFd, end: Option<channel::End>, place: String, session: Session) -> io::Result<Self> {
        let state = Mutex::new(State::new(session));
        Ok(Self { socket: AsyncFd::new(socket)?, end, place, state, room: Notify::new(), ended: Notify::new() })
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        Locked::new(&self.state)
    }

    /// What was queued leaves: now if nothing else is under way or much has gathered, else at the driver's next turn.
    pub(super) fn depart(&self, state: &mut State) {
        if state.session.is_quiet() {
            self.flush(state);
        }
        self.depart_together(state);
    }

    /// What was queued leaves at the driver's next turn, or now if much has gathered.
    pub(super) fn depart_together(&self, state: &mut State) {
        if state.session.unsent() >= socket::GATHER {
            self.flush(state);
        }
        if state.session.unsent() > 0 {
            state.wake_driver();
        }
    }

    /// Writes what the socket takes now. When it will never take more, what the broker said last is read first: it may have said
    /// why.
    pub(super) fn flush(&self, state: &mut State) -> Flushed {
        let written = self.transmit(&mut state.session);
        if self.has_room(&state.session) {
            self.room.notify_waiters();
        }
        let Err(error) = written else { return Flushed::Well };
        self.catch_up(state);
        state.session.unwritable(&self.text_of(&error.to_string()));
        self.room.notify_waiters();
        state.wake_all();
        Flushed::Failed
    }

    /// Whether another call may be queued, or never will be.
    pub(super) fn has_room(&self, session: &Session) -> bool {
        session.unsent() <= socket::HIGH_WATER || !session.takes_more()
    }

    /// Reads once, and applies what came. Ready if another read may bring more.
    pub(super) fn read(&self, state: &mut State) -> Poll<()> {
        let State { inbox, buffer, .. } = &mut *state;
        let read = match &self.end {
            Some(end) => Ok(end.read(inbox)),
            None => inbox.read(self.socket.get_ref().as_fd(), buffer),
        };
        match read {
            Ok(Received::Bytes(_)) => self.hand_out(state),
            Ok(Received::Nothing) => return Poll::Pending,
            Ok(Received::End) => self.lose(state, "the broker closed it"),
            Err(error) => self.lose(state, &error.to_string()),
        }
        Poll::Ready(())
    }

    /// Reads what is there.
    pub(super) fn catch_up(&self, state: &mut State) {
        for _ in 0..CATCH_UP {
            if state.session.loss().is_some() || self.read(state).is_pending() {
                break;
            }
        }
    }

    /// The connection is gone: every call ends. The first loss stays.
    pub(super) fn lose(&self, state: &mut State, reason: &str) {
        let text = self.text_of(reason);
        state.session.lost(Loss { code: ErrorCode::BROKER_LOST, text, written: Retry::Unknown });
        self.over(state);
    }

    /// When there is something to do although nothing can be read.
    pub(super) fn due(&self, due: Option<Instant>) -> Option<Instant> {
        self.end.as_ref().map_or(due, |end| end.until(due))
    }

    /// Whether to read although nothing can be.
    pub(super) fn is_due(&self) -> bool {
        self.end.as_ref().is_some_and(channel::End::is_due)
    }

    /// Writes until everything is written or it takes no more.
    fn transmit(&self, session: &mut Session) -> io::Result<()> {
        match &self.end {
            Some(end) => end.transmit(session),
            None => socket::transmit(self.socket.get_ref().as_fd(), session),
        }
    }

    fn hand_out(&self, state: &mut State) {
        if let Err(violation) = state.receive() {
            let _ = self.transmit(&mut state.session); // it is told if it listens; the connection ends either way
            self.lose(state, &format!("the broker broke the protocol: {violation}"));
        } else if state.session.loss().is_some() {
            self.over(state);
        }
    }

    fn over(&self, state: &mut State) {
        match &self.end {
            Some(end) => end.close(),
            None => socket::shut_down(self.socket.get_ref().as_fd()),
        }
        self.room.notify_waiters();
        self.ended.notify_waiters();
        state.wake_all();
    }

    fn text_of(&self, reason: &str) -> String {
        format!("the connection to the broker at {} ended ({reason})", self.place)
    }
}

/// Most reads before a call is written: 1 MiB.
const CATCH_UP: usize = 32;
