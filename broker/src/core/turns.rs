//! Turns: whose turn it is. Work is shared among users, and a user's part among its connections: deficit round robin, twice.
//!
//! ```text
//!            permitted: [user: peer peer] [user: peer]     up to `turn_frames_total` a turn
//! join ->                                                                                      -> next -> end
//!            strangers: [user: peer peer peer]             up to `turn_frames_strangers` a turn
//! ```
//!
//! Those who may do something come first in every turn, so that no stranger delays them by more than the strangers' part of one.
//! Strangers have their part once a millisecond, however much else there is to do, and no more, so that most of the time is left to
//! the processes that the broker serves: they may have to share its CPU.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    ids::{AccountId, PeerId},
    limits::Limits,
    moment::Moment,
    peers::Peers,
    policy::Effect,
};

/// A peer's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The peer.
    pub peer: PeerId,
    /// The most bytes to be read.
    pub bytes: usize,
    /// The work, in bytes, after which another peer has its turn.
    pub(super) budget: u64,
    effect: Effect,
    /// Whether others waited when it began. What is done while no one else waits costs no credit.
    is_shared: bool,
}

/// The peers that wait for their turn.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Turns {
    /// The only peer that waits, in no line: the usual case, which costs nothing.
    lone: Option<PeerId>,
    permitted: Line,
    strangers: Line,
    /// When strangers have their next part.
    strangers_due: Moment,
    /// Each user at its account's place.
    users: Vec<Option<User>>,
}

/// Users with waiting peers, in order.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    users: VecDeque<AccountId>,
    /// What is left of its part of this turn.
    left: u64,
}

/// A user, as long as its account is open or its place is not taken.
#[derive(Debug, Serialize, Deserialize)]
struct User {
    account: AccountId,
    /// Its waiting peers, in order.
    peers: VecDeque<PeerId>,
    /// The line that it is in.
    line: Option<Effect>,
    /// Work that it may do before the next user. Below zero after more work than that.
    credit: i64,
}

impl Turns {
    /// Begins a turn, in which each line may do its part.
    #[inline]
    pub(crate) fn begin(&mut self, now: Moment, limits: &Limits) {
        self.permitted.left = limits.turn_frames_total;
        if self.strangers_due <= now {
            self.strangers_due = now.after_ms(STRANGERS_MS);
            self.strangers.left = limits.turn_frames_strangers;
        }
    }

    /// Puts a peer in line, unless it is there already.
    #[inline]
    pub(crate) fn join(&mut self, peers: &mut Peers, id: PeerId) {
        if self.lone == Some(id) {
            return;
        }
        if self.has_waiting() {
            return self.join_line(peers, id);
        }
        self.lone = Some(id);
    }

    #[inline(never)]
    fn join_line(&mut self, peers: &mut Peers, id: PeerId) {
        if let Some(first) = self.lone.take() {
            self.stand(peers, first);
        }
        self.stand(peers, id);
    }

    fn stand(&mut self, peers: &mut Peers, id: PeerId) {
        let Some(peer) = peers.get_mut(id).filter(|peer| !peer.in_line) else { return };
        peer.in_line = true;
        let (account, index, effect) = (peer.account, peer.account.index(), peer.effect);
        if self.users.len() <= index {
            self.users.resize_with(index + 1, || None);
        }
        let Some(place) = self.users.get_mut(index) else { return };
        let user = match place {
            Some(user) if user.account == account => user,
            other => other.insert(User::new(account)),
        };
        user.peers.push_back(id);
        if user.line.is_none() {
            user.line = Some(effect);
            self.line(effect).users.push_back(account);
        }
    }

    /// Whose turn it is; `None` if the work of this turn is done.
    #[inline]
    pub(crate) fn next(&mut self, peers: &mut Peers, limits: &Limits) -> Option<Turn> {
        match self.lone {
            Some(id) => self.next_alone(peers, id),
            None if self.is_empty() => None,
            None => self.next_in_line(peers, limits),
        }
    }

    #[inline(never)]
    fn next_in_line(&mut self, peers: &mut Peers, limits: &Limits) -> Option<Turn> {
        let share = limits.turn_frames;
        match self.permitted.next(&mut self.users, peers, share) {
            Some(peer) => Some(Turn::new(peer, Effect::Allow, share, true)),
            None => Some(Turn::new(self.strangers.next(&mut self.users, peers, share)?, Effect::Deny, share, true)),
        }
    }

    /// A turn that lasts as long as there is work, up to the budget.
    #[inline]
    fn next_alone(&mut self, peers: &Peers, id: PeerId) -> Option<Turn> {
        let effect = peers.get(id).map_or(Effect::Deny, |peer| peer.effect);
        let left = self.line(effect).left;
        if left == 0 {
            return None;
        }
        self.lone = None;
        Some(Turn::new(id, effect, left, false))
    }

    /// Ends a peer's turn, in which `work` was done, in bytes. The peer joins the line again if there is more to do.
    #[inline]
    pub(crate) fn end(&mut self, peers: &mut Peers, turn: Turn, work: u64) {
        let cost = work / FRAME;
        let line = self.line(turn.effect);
        line.left = line.left.saturating_sub(cost);
        if turn.is_shared {
            self.spend(peers, turn.peer, cost);
        }
    }

    #[inline(never)]
    fn spend(&mut self, peers: &mut Peers, id: PeerId, cost: u64) {
        let cost = signed(cost);
        let Some(peer) = peers.get_mut(id) else { return };
        peer.credit -= cost;
        let Some(Some(user)) = self.users.get_mut(peer.account.index()) else { return };
        user.credit -= cost;
        if peer.credit > 0 && user.peers.back() == Some(&id) {
            user.peers.rotate_right(1); // it has joined again, and has not used up its share
        }
        let used_up = user.line.filter(|_| user.credit <= 0).map(|effect| (user.account, effect));
        if let Some((account, effect)) = used_up
            && self.line(effect).users.front() == Some(&account)
        {
            self.line(effect).users.rotate_left(1);
        }
    }

    /// When the next turn should begin because of peers that wait for it: in the past, if at once.
    #[inline]
    pub(crate) fn next_at(&self, peers: &Peers) -> Option<Moment> {
        if !self.has_waiting() {
            return None;
        }
        let lone = self.lone.and_then(|id| peers.get(id));
        let permitted = lone.map_or(!self.permitted.users.is_empty(), |peer| peer.effect == Effect::Allow);
        Some(if permitted || self.strangers.left > 0 { Moment(0) } else { self.strangers_due })
    }

    #[inline]
    fn has_waiting(&self) -> bool {
        self.lone.is_some() || !self.is_empty()
    }

    /// Whether the lines are empty.
    #[inline]
    fn is_empty(&self) -> bool {
        self.permitted.users.is_empty() && self.strangers.users.is_empty()
    }

    #[inline]
    fn line(&mut self, effect: Effect) -> &mut Line {
        match effect {
            Effect::Allow => &mut self.permitted,
            Effect::Deny => &mut self.strangers,
        }
    }
}

impl Turn {
    #[inline]
    fn new(peer: PeerId, effect: Effect, frames: u64, is_shared: bool) -> Self {
        let bytes = if effect == Effect::Allow { usize::MAX } else { STRANGERS_READ };
        Self { peer, bytes, budget: frames.saturating_mul(FRAME), effect, is_shared }
    }
}

impl Line {
    /// The next peer, which leaves the line. Users and peers that are still in debt with a new share go behind the others.
    fn next(&mut self, users: &mut [Option<User>], peers: &mut Peers, share: u64) -> Option<PeerId> {
        while self.left > 0 {
            let account = *self.users.front()?;
            let user = users.get_mut(account.index()).and_then(Option::as_mut).filter(|user| user.account == account);
            let Some(user) = user else {
                self.users.pop_front();
                continue;
            };
            if user.peers.is_empty() {
                user.line = None;
                self.users.pop_front();
            } else if !user.has_credit() {
                self.users.rotate_left(1);
            } else if let Some(peer) = user.next(peers, share) {
                return Some(peer);
            }
        }
        None
    }
}

impl User {
    fn new(account: AccountId) -> Self {
        Self { account, peers: VecDeque::new(), line: None, credit: OF_USER }
    }

    /// Whether it has credit, of which it receives more at the front of its line.
    fn has_credit(&mut self) -> bool {
        if self.credit <= 0 {
            self.credit += OF_USER;
        }
        self.credit > 0
    }

    fn next(&mut self, peers: &mut Peers, share: u64) -> Option<PeerId> {
        while let Some(id) = self.peers.pop_front() {
            let Some(peer) = peers.get_mut(id) else { continue };
            if peer.credit <= 0 {
                peer.credit += signed(share);
            }
            if peer.credit > 0 {
                peer.in_line = false;
                return Some(id);
            }
            self.peers.push_back(id);
        }
        None
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The work of routing a frame, in bytes: copying as many takes about as long, and so does a read, whatever it brings.
pub(super) const FRAME: u64 = 4_096;
/// The credit of a user, in frames: several connections have their turn before the next user.
const OF_USER: i64 = 64;
/// Bytes read at a time from a user who may do nothing. A hello with a long name fits, and every call is denied, long before its end.
const STRANGERS_READ: usize = 2_048;
/// The time between two parts of strangers.
const STRANGERS_MS: u64 = 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ipc_protocol::Identity;

    use super::*;
    use crate::core::{Moment, accounts::Accounts};

    /// A line of peers that always have more to do.
    struct Busy {
        turns: Turns,
        peers: Peers,
        accounts: Accounts,
        limits: Limits,
        done: BTreeMap<u64, u64>,
        now: Moment,
    }

    impl Busy {
        fn new() -> Self {
            Self {
                turns: Turns::default(),
                peers: Peers::new(),
                accounts: Accounts::new(),
                limits: Limits::default(),
                done: BTreeMap::new(),
                now: Moment(0),
            }
        }

        fn peer(&mut self, uid: u32, effect: Effect) -> PeerId {
            let account = self.accounts.open(uid, effect, &Limits::default());
            let id = self.peers.admit(Moment(0), Identity::new(uid, uid), account, effect);
            self.turns.join(&mut self.peers, id);
            id
        }

        /// One turn, in which each peer does `work` frames at a time. Returns the peers in order.
        fn turn(&mut self, work: impl Fn(PeerId) -> u64) -> Vec<PeerId> {
            let mut order = Vec::new();
            self.now = self.now.after_ms(1);
            self.turns.begin(self.now, &self.limits);
            while let Some(turn) = self.turns.next(&mut self.peers, &self.limits) {
                let frames = work(turn.peer);
                self.turns.join(&mut self.peers, turn.peer);
                self.turns.end(&mut self.peers, turn, frames * FRAME);
                *self.done.entry(turn.peer.to_bits()).or_default() += frames;
                order.push(turn.peer);
            }
            order
        }

        fn turns(&mut self, count: usize, work: impl Fn(PeerId) -> u64) {
            (0..count).for_each(|_| drop(self.turn(&work)));
        }

        fn done(&self, id: PeerId) -> u64 {
            self.done.get(&id.to_bits()).copied().unwrap_or(0)
        }
    }

    fn is_about(found: u64, expected: u64) -> bool {
        found.abs_diff(expected) * 20 <= expected
    }

    #[test]
    fn users_have_equal_shares_however_many_connections_they_have() {
        let mut busy = Busy::new();
        let many: Vec<_> = (0..50).map(|_| busy.peer(7, Effect::Allow)).collect();
        let one = busy.peer(8, Effect::Allow);

        busy.turns(100, |_| 16);

        let of_many = many.iter().map(|peer| busy.done(*peer)).sum();
        assert!(is_about(busy.done(one), of_many), "{} against {of_many}", busy.done(one));
    }

    #[test]
    fn connections_of_a_user_have_equal_shares_whatever_they_do_at_a_time() {
        let mut busy = Busy::new();
        let (greedy, modest) = (busy.peer(7, Effect::Allow), busy.peer(7, Effect::Allow));

        busy.turns(200, |peer| if peer == greedy { 300 } else { 1 });

        assert!(is_about(busy.done(modest), busy.done(greedy)), "{:?}", busy.done);
    }

    #[test]
    fn strangers_come_last_in_a_turn_and_have_their_part_of_it() {
        let mut busy = Busy::new();
        let strangers: Vec<_> = (0..500).map(|number| busy.peer(1_000 + number % 24, Effect::Deny)).collect();
        let root = busy.peer(0, Effect::Allow);

        let order = busy.turn(|_| 16);

        let (of_root, of_strangers) = (512 / 16, 64 / 16);
        assert!(order[..of_root].iter().all(|peer| *peer == root));
        assert_eq!(order.len(), of_root + of_strangers);
        assert!(order[of_root..].iter().all(|peer| strangers.contains(peer)));
    }

    #[test]
    fn a_user_of_many_connections_does_not_keep_another_stranger_waiting() {
        let mut busy = Busy::new();
        let _many: Vec<_> = (0..500).map(|_| busy.peer(1_000, Effect::Deny)).collect();
        let other = busy.peer(1_001, Effect::Deny);

        busy.turns(3, |_| 16);

        assert!(busy.done(other) > 0);
    }

    #[test]
    fn a_peer_alone_in_line_has_the_whole_turn() {
        let mut busy = Busy::new();
        busy.peer(7, Effect::Allow);
        busy.turns.begin(Moment(0), &busy.limits);
        assert_eq!(busy.turns.next(&mut busy.peers, &busy.limits).map(|turn| turn.budget / FRAME), Some(512));
        assert_eq!(busy.turns.next(&mut busy.peers, &busy.limits), None);
        assert_eq!(busy.turns.next_at(&busy.peers), None);
    }

    #[test]
    fn strangers_have_their_part_once_a_millisecond() {
        let mut busy = Busy::new();
        let _strangers = [busy.peer(7, Effect::Deny), busy.peer(7, Effect::Deny)];
        assert_eq!(busy.turn(|_| 16).len(), 4);

        busy.turns.begin(busy.now, &busy.limits);
        assert_eq!(busy.turns.next(&mut busy.peers, &busy.limits), None);
        assert_eq!(busy.turns.next_at(&busy.peers), Some(busy.now.after_ms(1)));
        assert_eq!(busy.turn(|_| 16).len(), 4);
    }

    #[test]
    fn a_peer_that_is_gone_has_no_turn() {
        let mut busy = Busy::new();
        let (gone, stays) = (busy.peer(7, Effect::Allow), busy.peer(7, Effect::Allow));
        busy.peers.remove(gone);
        assert!(busy.turn(|_| 16).iter().all(|peer| *peer == stays));
    }
}
