//! Decisions: the router, and those of its outputs that are not carried out yet.

use ipc_protocol::{Goodbye, Identity, wire::Message};

use super::outlets::{Fd, Outlets};
use crate::core::{Input, Limits, Moment, Output, Outputs, PeerId, Policy, Router, Turn};

/// The router and its outputs.
#[derive(Debug)]
pub(crate) struct Decisions {
    router: Router<Fd>,
    undone: Undone,
    spare: Vec<Decision>,
}

/// An output of the router.
pub(crate) type Decision = Output<Fd>;

/// Outputs that are not carried out yet. Items go directly to their outlets, and everything else into a list. The two need no common
/// order, because nothing is sent to a peer after it is cut.
#[derive(Debug)]
struct Undone {
    outlets: Outlets,
    others: Vec<Decision>,
}

impl Decisions {
    pub(crate) fn new(limits: Limits, policy: Policy) -> Self {
        let router = Router::new(limits, policy, concat!("ipcd ", env!("CARGO_PKG_VERSION")));
        Self { router, undone: Undone { outlets: Outlets::new(), others: Vec::new() }, spare: Vec::new() }
    }

    /// Passes an input to the router.
    #[inline(always)] // as the router's
    pub(crate) fn tell(&mut self, now: Moment, input: Input<'_, Fd>) {
        self.router.handle(now, input, &mut self.undone);
    }

    /// Asks whether a connection of this user is worth looking at.
    pub(crate) fn visit(&mut self, now: Moment, uid: u32) -> Result<(), Option<Goodbye>> {
        self.router.visit(now, uid, &mut self.undone)
    }

    /// Offers a connection to the router.
    pub(crate) fn connect(&mut self, now: Moment, identity: Identity) -> Result<PeerId, Goodbye> {
        self.router.connect(now, identity, &mut self.undone)
    }

    /// The items to be sent.
    pub(crate) fn outlets(&mut self) -> &mut Outlets {
        &mut self.undone.outlets
    }

    /// Whether there are other outputs.
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        !self.undone.others.is_empty()
    }

    /// Takes the other outputs, in order; `None` if there are none. Return the list with [`Decisions::recycle`] after carrying it
    /// out, which may lead to further outputs.
    pub(crate) fn take(&mut self) -> Option<Vec<Decision>> {
        if self.undone.others.is_empty() {
            return None;
        }
        Some(std::mem::replace(&mut self.undone.others, std::mem::take(&mut self.spare)))
    }

    /// Keeps the memory of a list that was carried out. Two lists take turns.
    pub(crate) fn recycle(&mut self, done: Vec<Decision>) {
        self.spare = done;
        self.spare.clear();
        self.spare.shrink_to(KEPT);
    }

    /// Whether the next message of a peer may be passed to the router, or has to wait.
    #[inline]
    pub(crate) fn may_send(&self, id: PeerId) -> bool {
        self.router.may_send(id)
    }

    /// Gives back memory that is kept for reuse.
    pub(crate) fn give_back(&mut self) {
        self.spare = Vec::new();
        self.undone.outlets.give_back();
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.router.limits()
    }

    /// Notes that a peer has sent something that is not routed yet.
    #[inline]
    pub(crate) fn ready(&mut self, peer: PeerId) {
        self.router.ready(peer);
    }

    /// Begins a turn of the loop.
    pub(crate) fn begin_turn(&mut self, now: Moment) {
        self.router.begin_turn(now);
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) fn next_turn(&mut self) -> Option<Turn> {
        self.router.next_turn()
    }

    /// Ends a peer's turn.
    #[inline]
    pub(crate) fn end_turn(&mut self, turn: Turn) {
        self.router.end_turn(turn);
    }

    /// Notes what a read has brought in a peer's turn.
    #[inline]
    pub(crate) fn note_read(&mut self, bytes: usize) {
        self.router.note_read(bytes);
    }

    /// Whether a peer has caused as much work in its turn as it may.
    #[inline]
    pub(crate) fn is_over(&self, turn: &Turn) -> bool {
        self.router.is_over(turn)
    }

    /// When the next turn of the loop should begin because of peers that wait for theirs.
    #[inline]
    pub(crate) fn next_turn_at(&self) -> Option<Moment> {
        self.router.next_turn_at()
    }

    /// Whether the peer is of a user who may do nothing.
    pub(crate) fn is_stranger(&self, peer: PeerId) -> bool {
        self.router.is_stranger(peer)
    }

    /// When to pass [`Input::Deadline`] next.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.router.next_deadline()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.router.is_drained()
    }
}

/// The number of outputs that memory is kept for.
const KEPT: usize = 1_024;

impl Outputs<Fd> for Undone {
    #[inline(always)] // each caller passes one kind of output
    fn push(&mut self, output: Decision) {
        match output {
            Output::Send { to, item } => self.outlets.push(to, item),
            other => self.others.push(other),
        }
    }

    #[inline]
    fn send(&mut self, to: PeerId, cost: usize, message: impl FnOnce() -> Message<Fd>) {
        self.outlets.send(to, cost, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_decided_while_decisions_are_carried_out_is_not_lost() {
        let mut decisions = Decisions::new(Limits::default(), Policy::new(0));
        let peer = decisions.connect(Moment(0), Identity::new(0, 0)).unwrap();
        let first = decisions.take().unwrap();
        decisions.tell(Moment(0), Input::Ended { from: peer });
        decisions.recycle(first);
        assert!(matches!(decisions.take().as_deref(), Some([Output::Close { .. }])));
        assert!(decisions.take().is_none());
    }
}
