//! The loop: one thread, and in each turn reads before writes.
//!
//! ```text
//! wait -> accept, datagrams, signals -> read and route those whose turn it is, until the turn's work is done
//!      -> expire deadlines -> write each connection with queued items once -> wait
//! ```

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use ipc_protocol::{
    Goodbye,
    transport::{credentials, fd},
};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::{
    clock,
    closing::Closing,
    connections::{Connections, Served},
    decisions::{Decision, Decisions},
    doors::{Doors, say_goodbye},
    life::{Life, Turning},
    log::Log,
    poller::{Interest, Poller, Ready, Source},
    sandbox::Sandbox,
    site::Look,
};
use crate::core::{Input, Moment, Output, PeerId};

/// All parts of a running broker. They do not know each other.
#[derive(Debug)]
pub(crate) struct Loop {
    poller: Poller,
    log: Log,
    decisions: Decisions,
    connections: Connections,
    doors: Doors,
    closing: Closing,
    life: Life,
}

impl Loop {
    pub(crate) fn new(
        poller: Poller,
        log: Log,
        decisions: Decisions,
        (doors, closing): (Doors, Closing),
        life: Life,
    ) -> Self {
        Self { poller, log, decisions, connections: Connections::new(closing.rights()), doors, closing, life }
    }

    /// Serves until its life ends. `begin` determines what ends it.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub(crate) fn run(mut self, begin: impl FnOnce(&mut Life, &Poller) -> io::Result<()>) -> io::Result<()> {
        begin(&mut self.life, &self.poller)?;
        let mut now = clock::now();
        while !self.life.has_ended() {
            now = self.turn(now)?;
        }
        Ok(())
    }

    /// The sandbox that it can do its work in.
    pub(crate) fn sandbox(&self) -> Sandbox {
        self.life.sandbox(self.doors.answer_datagrams())
    }

    /// The number of connections that the limits allow.
    pub(crate) fn places(&self) -> u64 {
        self.decisions.limits().connections
    }

    /// The bytes that the limits allow all users together.
    pub(crate) fn bytes(&self) -> u64 {
        self.decisions.limits().bytes_total
    }

    /// One turn. Takes the time of the previous turn and returns its own, so that the clock is read once.
    fn turn(&mut self, before: Moment) -> io::Result<Moment> {
        let wake = self.next_wake();
        self.poller.wait(before, wake)?;
        let now = clock::now();
        for at in 0..self.poller.count() {
            if let Some(ready) = self.poller.ready(at) {
                self.serve(now, ready)?;
            }
        }
        self.carry_out(now);
        self.decisions.begin_turn(now);
        while let Some(turn) = self.decisions.next_turn() {
            if self.connections.take_turn(now, turn, &mut self.decisions) == Served::Gone {
                self.close(now, turn.peer, None);
            }
            self.carry_out(now);
        }
        if wake.is_some_and(|wake| wake <= now) {
            self.expire(now); // what comes up in this turn is at least a millisecond away
        }
        self.write(now);
        if self.life.is_over(now, || self.decisions.is_drained()) {
            let end = self.life.end();
            self.turn_to(now, end);
        }
        Ok(now)
    }

    /// When the next turn must begin at the latest.
    fn next_wake(&mut self) -> Option<Moment> {
        let (chore, drained) = (self.life.next_chore(), self.life.drained_by());
        let waiting = Moment::first(self.decisions.next_turn_at(), self.decisions.next_deadline());
        let decided = Moment::first(waiting, self.doors.next_resume());
        let decided = Moment::first(decided, self.connections.sunk().next_look());
        Moment::first(decided, Moment::first(chore, drained))
    }

    fn serve(&mut self, now: Moment, ready: Ready) -> io::Result<()> {
        match ready.source {
            Source::Listener => self.accept(now),
            Source::Datagrams => self.receive_datagrams(now),
            Source::Signals => {
                while let Some(turning) = self.life.next_signal(now, &mut self.log)? {
                    self.turn_to(now, turning);
                }
            }
            Source::Stop => {
                let end = self.life.end();
                self.turn_to(now, end);
            }
            Source::Timer => self.poller.rang(),
            Source::Peer(id) => {
                if self.connections.serve(id, ready, &mut self.decisions) == Served::Gone {
                    self.close(now, id, None);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Moment) {
        let (mut left, mut ignored) = (ACCEPTS, 0);
        while left > 0 {
            let accepted = self.doors.accept(now, &self.poller, &mut self.closing, &mut self.log);
            let Some(socket) = accepted else { break };
            // If the kernel does not identify the peer, no policy can decide about its requests.
            let visit = credentials::uid_of_peer(socket.as_fd()).map(|uid| self.decisions.visit(now, uid));
            left = left.saturating_sub(match visit {
                Ok(Ok(())) => {
                    self.admit(now, socket);
                    ADMISSION
                }
                Ok(Err(Some(goodbye))) => {
                    say_goodbye(socket.as_fd(), goodbye);
                    self.closing.close(socket);
                    ADMISSION
                }
                Ok(Err(None)) | Err(_) => {
                    self.closing.close(socket);
                    ignored += 1;
                    1
                }
            });
        }
        if ignored > 0 {
            self.doors.rest(now, &self.poller, &mut self.log);
        }
    }

    fn receive_datagrams(&mut self, now: Moment) {
        self.doors.receive_datagrams(now, &self.poller, &self.closing, &mut self.decisions);
    }

    fn admit(&mut self, now: Moment, socket: OwnedFd) {
        let Ok(identity) = credentials::of_peer(socket.as_fd()) else { return self.closing.close(socket) };
        let id = match self.decisions.connect(now, identity) {
            Ok(id) => id,
            Err(goodbye) => {
                say_goodbye(socket.as_fd(), goodbye);
                return self.closing.close(socket);
            }
        };
        let is_stranger = self.decisions.is_stranger(id);
        if is_stranger {
            // It only makes the kernel keep less for who doesn't read.
            let _ = set_socket_send_buffer_size(&socket, STRANGERS_BUFFER);
        }
        let interest = Interest { once: is_stranger, ..Interest::READ };
        match self.poller.add(&socket, Source::Peer(id), interest) {
            Ok(()) => self.connections.insert(id, socket, interest, &mut self.decisions),
            Err(_) => {
                self.closing.close(socket);
                self.decisions.tell(now, Input::Closed { peer: id }); // ENOSPC: this user has no epoll watch left
            }
        }
    }

    fn turn_to(&mut self, now: Moment, turning: Turning) {
        match turning {
            Turning::Limits(limits) => self.decisions.tell(now, Input::Limits(limits)),
            Turning::Drain => {
                self.doors.close(&self.poller, &mut self.closing);
                self.decisions.tell(now, Input::Drain);
            }
            Turning::Stop => self.decisions.tell(now, Input::Stop),
        }
        self.carry_out(now);
    }

    /// Carries out the router's outputs, and further ones that follow from them, such as errors to the callers of a cut connection.
    /// Mostly there are none, because items wait in the outlets.
    #[inline]
    fn carry_out(&mut self, now: Moment) {
        if self.decisions.has_others() {
            self.carry_out_others(now);
        }
    }

    #[inline(never)]
    fn carry_out_others(&mut self, now: Moment) {
        while let Some(mut outputs) = self.decisions.take() {
            for output in outputs.drain(..) {
                self.carry_out_one(now, output);
            }
            self.decisions.recycle(outputs);
        }
    }

    fn carry_out_one(&mut self, now: Moment, output: Decision) {
        match output {
            Output::Send { to, item } => self.decisions.outlets().push(to, item),
            Output::SendDatagram { to, message, precedence } => {
                if !self.doors.answer(&to, &message, precedence) {
                    self.decisions.tell(now, Input::DatagramUnanswered);
                }
            }
            Output::Assemble { peer, granted } => self.connections.assemble(peer, granted, &mut self.decisions),
            Output::Skip { peer } => self.connections.skip(peer, &mut self.decisions),
            Output::Park { peer } => self.connections.park(peer, &mut self.decisions),
            Output::Cut { peer, goodbye } => {
                self.close(now, peer, Some(goodbye));
            }
            Output::Close { peer } => self.close(now, peer, None),
            Output::GiveBack => self.give_back(),
            Output::Log(event) => self.log.event(now, &event),
        }
    }

    /// Gives back memory that is kept for reuse, and what the allocator keeps.
    #[cold]
    fn give_back(&mut self) {
        self.connections.give_back();
        self.decisions.give_back();
        fd::give_back_memory();
    }

    fn close(&mut self, now: Moment, id: PeerId, goodbye: Option<Goodbye>) {
        if let Some(socket) = self.connections.remove(id, goodbye, &self.poller, &mut self.decisions) {
            self.closing.close(socket);
        }
        self.decisions.tell(now, Input::Closed { peer: id });
        self.doors.descriptor_is_free(now);
    }

    fn expire(&mut self, now: Moment) {
        if self.decisions.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.decisions.tell(now, Input::Deadline);
        }
        self.doors.resume(now, &self.poller, &mut self.log);
        self.life.feed_watchdog(now);
        self.look_at_site(now);
        self.carry_out(now);
    }

    /// Checks the files of the sockets. Clients that wait at a socket without its file are accepted first.
    fn look_at_site(&mut self, now: Moment) {
        match self.life.look(now) {
            Look::Unchanged => {}
            Look::Lost(error) => self.log.line(format_args!("event=socket_lost reason={:?}", error.to_string())),
            Look::Reopened(sockets) => {
                self.accept(now);
                self.receive_datagrams(now);
                match self.doors.replace(sockets, &self.poller, &mut self.closing) {
                    Ok(()) => self.log.line(format_args!("event=socket_reopened")),
                    Err(error) => self.log.line(format_args!("event=socket_lost reason={:?}", error.to_string())),
                }
            }
        }
    }

    /// Writes each connection with queued items once, and then those that receive messages because this made room.
    fn write(&mut self, now: Moment) {
        loop {
            while let Some((id, served)) = self.connections.write_next(now, &self.poller, &mut self.decisions) {
                if served == Served::Gone {
                    self.close(now, id, None);
                }
            }
            self.connections.keep_unrouted(now, &mut self.decisions);
            self.carry_out(now);
            if self.connections.sunk().is_due(now) {
                self.look_into_kernel(now);
            }
            if !self.decisions.outlets().has_dirty() {
                return;
            }
        }
    }

    /// Looks how much of what was written lies in the kernel.
    #[cold]
    fn look_into_kernel(&mut self, now: Moment) {
        let due = self.connections.sunk().take_due(now);
        for look in &due {
            self.connections.look(now, *look, &mut self.decisions);
            self.carry_out(now);
        }
        self.connections.sunk().recycle(due);
    }
}

impl Drop for Loop {
    /// Closes everything that strangers can send to. The rest, the claim to the path among it, is dropped next and closes at once.
    fn drop(&mut self) {
        self.connections.remove_all().for_each(|socket| self.closing.close(socket));
        self.doors.close(&self.poller, &mut self.closing);
        self.doors.close_datagrams(&self.poller, &mut self.closing);
    }
}

/// Bytes of the kernel's buffer to a stranger, which the kernel doubles (socket(7)). It holds dozens of denials. The default of
/// 212,992 would let one user pin 100 MiB with the connections that it may have.
const STRANGERS_BUFFER: usize = 8_192;
/// The number of connections accepted in one turn, if all of them are ignored.
const ACCEPTS: usize = 128;
/// The number of ignored connections that take as long as one that is admitted.
const ADMISSION: usize = 8;
