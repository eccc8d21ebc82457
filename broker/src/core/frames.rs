//! Long frames: which are assembled, which are skipped, and what happens to those that take too long.

use std::time::Duration;

use ipc_protocol::{Kind, Violation};

use super::{
    calls::Caller,
    ids::{CallId, PeerId},
    input::Begun,
    limits::Use,
    moment::Moment,
    output::{Output, Outputs},
    peers::{Frame, Stage},
    policy::Effect,
    refusal::{Progress, Refusal, long_answer},
    router::Router,
    wheel::Timed as _,
};

impl<F> Router<F> {
    /// A frame has begun that needs memory, or more of it.
    #[inline(never)]
    pub(super) fn begin(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(from) else { return };
        let is_stranger = peer.effect == Effect::Deny;
        match peer.stage {
            Stage::Greeting => return self.board.post.violate(from, &Violation::NoHello(frame.kind), out),
            Stage::Leaving | Stage::Ended => return,
            Stage::Ready => self.assembly.partial(&mut self.board.post, now, from, frame.held),
        }
        if is_stranger && is_request(frame.kind) {
            self.skip(from, frame, out);
            return self.deny_unread(from, frame.id, out); // no memory for who may do nothing
        }
        if is_stranger || u64::from(frame.body_len) > self.board.post.limits.body_bytes {
            self.skip(from, frame, out);
            return self.refuse_long(now, from, frame, out);
        }
        let longest = usize::try_from(self.board.post.limits.frame_bytes()).unwrap_or(usize::MAX);
        let frame = Begun { len: frame.len.min(longest), ..frame }; // not every dialect states a length
        match self.assembly.begin(&mut self.board.post, now, from, frame) {
            Some(granted) => out.push(Output::Assemble { peer: from, granted }),
            None if self.is_unwanted(from, frame) => self.leave_out(now, from, frame, out),
            None => out.push(Output::Park { peer: from }),
        }
    }

    /// Skips a frame. The rest of it still has to arrive before its deadline.
    fn skip(&mut self, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        let noted = match frame.kind {
            Kind::CALL => self.note_call(from, frame.id),
            Kind::EVENT => self.note_number(from, frame.id),
            _ => Ok(None),
        };
        if let Err(violation) = noted {
            return self.board.post.violate(from, &violation, out);
        }
        self.assembly.drop_grant(&mut self.board.post, from);
        out.push(Output::Skip { peer: from });
    }

    /// Refuses a body over the limit, which is being skipped.
    pub(super) fn refuse_long(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        let (len, limit) = (u64::from(frame.body_len), self.board.post.limits.body_bytes);
        match frame.kind {
            Kind::CALL | Kind::EVENT => {
                let caller = Caller::Peer { peer: from, id: frame.id };
                self.board.refuse(&caller, Refusal::TooLarge { len, limit }, out);
            }
            Kind::REPLY | Kind::ERROR => {
                self.board.answered(now, from, Err(long_answer(frame.id, len, limit)), out);
            }
            Kind::ITEM => self.board.skip_item(from, (frame.id, frame.delivered), len, out),
            other => self.board.post.violate(from, &Violation::UnexpectedKind(other), out),
        }
    }

    /// A peer's deadline has passed: its hello or the rest of a frame is due, or its frame has waited for room.
    pub(super) fn overdue(&mut self, now: Moment, id: PeerId, out: &mut impl Outputs<F>) {
        let peer = self.board.post.peers.get(id).filter(|peer| peer.stage != Stage::Leaving);
        let Some(peer) = peer else { return }; // or it was cut because of another one that is overdue
        let limits = &self.board.post.limits;
        let (what, allowed_ms) = match &peer.frame {
            _ if peer.stage == Stage::Greeting => ("hello", limits.hello_ms),
            Some(Frame { waiting: Some(frame), .. }) => {
                let frame = *frame;
                return self.waited(now, id, frame, out);
            }
            Some(_) => ("the rest of a frame", limits.frame_ms),
            None => return,
        };
        if now.since(peer.due()) >= STOOD_STILL {
            let due = now.after_ms(allowed_ms);
            return self.board.post.peers.arm(id, due); // it was the broker that took its time: what has come is still to be read
        }
        if !self.board.post.may_send(id) {
            return self.board.post.unread_too_long(now, id, out); // the rest may have come, and wait until it reads
        }
        self.board.post.violate(id, &Violation::TooSlow(what, allowed_ms), out);
    }

    /// A frame has waited for room.
    fn waited(&mut self, now: Moment, id: PeerId, waiting: Begun, out: &mut impl Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(id) else { return };
        let Some(frame) = &peer.frame else { return };
        let limits = &self.board.post.limits;
        let ends = frame.since.after(limits.timeout(waiting.timeout_ms));
        if waiting.kind == Kind::CALL && ends <= now {
            self.give_up(now, id, out);
            let caller = Caller::Peer { peer: id, id: waiting.id };
            return self.board.refuse(&caller, Refusal::Deadline(Progress::NotDelivered), out);
        }
        if self.is_unwanted(id, waiting) {
            return self.leave_out(now, id, waiting, out);
        }
        // Frames in assembly and queued calls have deadlines. Unread messages have none, so the peer that holds most of them is
        // cut.
        let (account, more) = (peer.account, waiting.len.saturating_sub(frame.held + frame.granted));
        if let Err(full) = self.board.post.accounts.has_room(account, more, Use::Assembly, limits) {
            self.board.post.cut_hog(full, account, out);
        }
        self.assembly.watch(&mut self.board.post, now, id);
    }

    /// Whether a frame is an answer or an item that no one waits for. The room that it would wait for may be held by the very calls
    /// that its sender has still to answer.
    fn is_unwanted(&self, from: PeerId, frame: Begun) -> bool {
        let call = match frame.kind {
            Kind::REPLY | Kind::ERROR => CallId::from_bits(frame.id),
            Kind::ITEM if frame.delivered => CallId::from_bits(frame.id),
            Kind::ITEM => self.board.post.peers.get(from).and_then(|peer| peer.pending.find(frame.id)),
            _ => return false,
        };
        let slot = call.and_then(|call| self.board.calls.get(call));
        !slot.is_some_and(|slot| matches!(slot.caller, Caller::Peer { .. } | Caller::Datagram(_)))
    }

    /// An answer or an item that no one waits for is skipped. An answer frees its place in the window.
    fn leave_out(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        self.give_up(now, from, out);
        let (len, limit) = (u64::from(frame.body_len), self.board.post.limits.body_bytes);
        match frame.kind {
            Kind::ITEM => self.board.skip_item(from, (frame.id, frame.delivered), len, out),
            _ => self.board.answered(now, from, Err(long_answer(frame.id, len, limit)), out),
        }
    }

    /// A frame that waits for room is skipped instead.
    pub(super) fn give_up(&mut self, now: Moment, id: PeerId, out: &mut impl Outputs<F>) {
        if let Some(frame) = self.assembly.give_up(&mut self.board.post, id) {
            self.skip(id, frame, out);
            let due = now.after_ms(self.board.post.limits.frame_ms);
            self.board.post.peers.arm(id, due);
        }
    }
}

/// Whether a refusal of it is answered.
fn is_request(kind: Kind) -> bool {
    matches!(kind, Kind::CALL | Kind::EVENT)
}

/// A deadline that is noticed this much too late is one at which the broker stood still: it was stopped, or its machine was.
const STOOD_STILL: Duration = Duration::from_millis(50);
