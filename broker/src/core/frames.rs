//! Long frames: which are put together, which are left out, and what becomes of those that take too long.

use ipc_protocol::{Kind, Violation};

use super::{
    calls::Caller,
    ids::PeerId,
    input::Begun,
    limits::Use,
    moment::Moment,
    output::{Output, Outputs},
    peers::Stage,
    refusal::{Progress, Refusal, long_answer},
    router::Router,
};

impl<F> Router<F> {
    /// A frame has begun that asks for memory.
    #[inline(never)]
    pub(super) fn begin(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(from) else { return };
        match peer.stage {
            Stage::Greeting => return self.board.post.violate(from, &Violation::NoHello(frame.kind), out),
            Stage::Leaving | Stage::Ended => return,
            Stage::Ready => self.assembly.partial(&mut self.board.post, now, from, frame.held),
        }
        if u64::from(frame.body_len) > self.board.post.limits.body_bytes {
            self.skip(from, frame, out);
            return self.refuse_long(now, from, frame, out);
        }
        if !self.assembly.begin(&mut self.board.post, now, from, frame) {
            return out.push(Output::Park { peer: from });
        }
        out.push(Output::Assemble { peer: from });
    }

    /// The frame is not taken; the rest of it is still to come, and is on the clock.
    fn skip(&mut self, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        if frame.kind == Kind::CALL
            && let Err(violation) = self.note_call(from, frame.id)
        {
            return self.board.post.violate(from, &violation, out);
        }
        out.push(Output::Skip { peer: from });
    }

    /// A body over the limit, which is being skipped.
    pub(super) fn refuse_long(&mut self, now: Moment, from: PeerId, frame: Begun, out: &mut impl Outputs<F>) {
        let (len, limit) = (u64::from(frame.body_len), self.board.post.limits.body_bytes);
        match frame.kind {
            Kind::CALL => {
                let caller = Caller::Peer { peer: from, id: frame.id };
                self.board.refuse(&caller, Refusal::TooLarge { len, limit }, out);
            }
            Kind::REPLY | Kind::ERROR => {
                self.board.answered(now, from, Err(long_answer(frame.id, len, limit)), out);
            }
            other => self.board.post.violate(from, &Violation::UnexpectedKind(other), out),
        }
    }

    /// A peer's time is up: it owes a hello or the rest of a frame, or its frame has waited for room.
    pub(super) fn overdue(&mut self, now: Moment, id: PeerId, out: &mut impl Outputs<F>) {
        let Some(peer) = self.board.post.peers.get(id) else { return };
        let limits = &self.board.post.limits;
        if peer.stage == Stage::Greeting {
            let violation = Violation::TooSlow("hello", limits.hello_ms / 1000);
            return self.board.post.violate(id, &violation, out);
        }
        let Some(frame) = &peer.frame else { return };
        let Some(waiting) = frame.waiting else {
            let violation = Violation::TooSlow("the rest of a frame", limits.frame_ms / 1000);
            return self.board.post.violate(id, &violation, out);
        };
        let ends = frame.since.after(limits.timeout(waiting.timeout_ms));
        if waiting.kind == Kind::CALL && ends <= now {
            self.give_up(now, id, out);
            let caller = Caller::Peer { peer: id, id: waiting.id };
            return self.board.refuse(&caller, Refusal::Deadline(Progress::NotDelivered), out);
        }
        // Frames that others put together and calls that wait end in time. What is not read may stay for ever, so the peer that
        // holds most of it is cut.
        let (account, more) = (peer.account, waiting.len.saturating_sub(frame.held));
        if let Err(full) = self.board.post.accounts.has_room(account, more, Use::Assembly, limits) {
            self.board.post.cut_hog(full, account, out);
        }
        self.assembly.watch(&mut self.board.post, now, id);
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
