//! The loop: one thread, and in each turn reads before writes.
//!
//! ```text
//! wait -> accept, datagrams, signals -> read each ready connection once -> route its frames, 16 at a time, in rounds
//!      -> expire deadlines -> write each connection that has something queued, once -> wait
//! ```

use std::io;

use super::{
    broker::{Phase, Server},
    poller::{Interest, Ready, Source},
    site::Site,
};
use crate::core::Moment;

impl Server {
    /// One turn. Takes the time of the turn before and returns its own: the clock is read once.
    pub(super) fn turn(&mut self, before: Moment) -> io::Result<Moment> {
        self.poller.wait(before, self.next_wake(before))?;
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
        Ok(now)
    }

    fn serve_source(&mut self, now: Moment, ready: Ready) -> io::Result<()> {
        match ready.source {
            Source::Listener => self.accept(now),
            Source::Datagrams => self.receive_datagrams(now),
            Source::Signals => return self.take_signals(now),
            Source::Stop => self.stop(now),
            Source::Timer => self.poller.rang(),
            Source::Peer(id) => self.serve_peer(now, id, ready),
        }
        Ok(())
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
        if self.site.as_ref().is_some_and(|site| site.next_look() <= now) {
            self.look_at_site(now);
        }
    }

    /// When something must be done, whatever comes.
    fn next_wake(&self, before: Moment) -> Option<Moment> {
        if self.may_unpark() {
            return Some(before);
        }
        let drained = match self.phase {
            Phase::Draining(until) => Some(until),
            Phase::Serving | Phase::Stopped => None,
        };
        let frame = self.frame_clock.front().map(|(deadline, _)| *deadline);
        let look = self.site.as_ref().map(Site::next_look);
        [self.router.next_deadline(), self.resume_accept, drained, frame, look].into_iter().flatten().min()
    }
}
