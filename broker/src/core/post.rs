//! The post: what is sent to which peer, who is charged for it, and who is cut because of it.

use ipc_protocol::{
    ErrorCode, Goodbye, Identity, PeerNumber, Violation,
    wire::{self, Message},
};
use serde::{Deserialize, Serialize};

use super::{
    accounts::{Account, Accounts, Full},
    counters::Counters,
    event::{Event, Party},
    ids::{AccountId, PeerId},
    item::{self, Class, Item, Keep},
    limits::{Limits, Use},
    moment::Moment,
    output::{Output, Outputs},
    peers::{self, Peer, Peers, Stage},
    policy::Effect,
    refusal::Refusal,
};

/// The peers, with all that sending to them needs: accounts, limits, counters.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    pub(crate) peers: Peers,
    pub(crate) accounts: Accounts,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) peaks: Peaks,
    /// The number of peers with at least `unread_soft_bytes` unread.
    congested: usize,
    /// The work done in the present turn of a peer, in bytes: those read, the cost of what is sent, and what takes as long.
    #[serde(skip)]
    pub(crate) work: u64,
}

/// A message on its way.
struct Parcel {
    to: PeerId,
    cost: usize,
    /// The most bytes that a receiver may have unread that does not read.
    most: u64,
}

/// The most that one peer or one name ever used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peaks {
    pub(crate) unread: u64,
    pub(crate) per_caller: u64,
    pub(crate) per_service: u64,
    pub(crate) names: u64,
    pub(crate) subscriptions: u64,
    pub(crate) patterns: u64,
    pub(crate) locks: u64,
}

impl Post {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            peers: Peers::new(),
            accounts: Accounts::new(),
            limits,
            counters: Counters::default(),
            peaks: Peaks::default(),
            congested: 0,
            work: 0,
        }
    }

    /// Adds a connection. The caller has checked the limits.
    pub(crate) fn admit<F>(
        &mut self,
        now: Moment,
        identity: Identity,
        effect: Effect,
        out: &mut impl Outputs<F>,
    ) -> PeerId {
        let mut party = Party::new(None, &identity);
        let account = self.open_account(identity.uid, effect);
        self.accounts.charge(account, Account::connection());
        self.accounts.charge(account, Account::bytes(peers::charge_of(&identity)));
        let id = self.peers.admit(now, identity, account, effect);
        self.peers.arm(id, now.after_ms(self.limits.hello_ms));
        self.counters.connections_accepted += 1;
        party.peer = self.peers.get(id).map(|peer| peer.number);
        out.push(Output::Log(Event::Connected(party)));
        id
    }

    /// The account of a user. Charge something to it at once.
    pub(crate) fn open_account(&mut self, uid: u32, effect: Effect) -> AccountId {
        self.accounts.open(uid, effect, &self.limits)
    }

    /// Removes a connection, with its unread items.
    pub(crate) fn dismiss<F>(&mut self, id: PeerId, out: &mut impl Outputs<F>) {
        let Some(peer) = self.peers.remove(id) else { return };
        self.congested -= usize::from(peer.unread as u64 >= self.limits.unread_soft_bytes);
        out.push(Output::Log(Event::Closed(Party::new(Some(peer.number), &peer.identity))));
        self.accounts.discharge(peer.account, Account::bytes(peer.charge()));
        self.accounts.discharge(peer.account, Account::connection());
    }

    /// Sends a message, or cuts its receiver if that does not read and has too much already. If a quota is full, this cuts the peer
    /// that holds most of it among those that do not read.
    #[inline]
    pub(crate) fn send<F>(&mut self, to: PeerId, message: Message<F>, out: &mut impl Outputs<F>) {
        let cost = item::cost(&message);
        self.send_made(to, cost, out, || message);
    }

    /// Sends the last message of a call with streams. Its receiver is not cut for it, because each call has one at most.
    pub(crate) fn send_last<F>(&mut self, to: PeerId, message: Message<F>, out: &mut impl Outputs<F>) {
        let parcel = Parcel { to, cost: item::cost(&message), most: u64::MAX };
        self.deliver(parcel, out, || message);
    }

    /// Sends a message that is built in place, as calls and replies are.
    #[inline]
    pub(crate) fn send_made<F>(
        &mut self,
        to: PeerId,
        cost: usize,
        out: &mut impl Outputs<F>,
        message: impl FnOnce() -> Message<F>,
    ) {
        self.deliver(Parcel { to, cost, most: self.limits.unread_hard_bytes }, out, message);
    }

    /// Sends a message, or cuts its receiver if that does not read.
    #[inline]
    fn deliver<F>(&mut self, parcel: Parcel, out: &mut impl Outputs<F>, message: impl FnOnce() -> Message<F>) {
        let Parcel { to, cost, most } = parcel;
        let Some(peer) = self.peers.get_mut(to).filter(|peer| peer.stage != Stage::Leaving) else { return };
        if peer.backlog > 0 && (peer.unread + cost) as u64 > most {
            let violation = not_reading(peer.unread + cost, most);
            return self.violate(to, &violation, out);
        }
        let (account, unread) = (peer.account, peer.unread + cost);
        let soft = self.limits.unread_soft_bytes;
        if unread as u64 >= soft && (peer.unread as u64) < soft {
            self.congested += 1;
        }
        peer.unread = unread;
        self.work += cost as u64;
        self.charge_or_cut(account, cost, out);
        // The server drops it if its receiver was the one cut.
        out.send(to, cost, message);
    }

    /// Sends an event to a subscription. If its peer is behind, the outlet drops it or an older one, and says so. Returns whether there
    /// is a peer to take it.
    #[inline]
    pub(crate) fn send_event<F>(
        &mut self,
        to: PeerId,
        (event, cost): (wire::Event<F>, usize),
        keep: Keep,
        out: &mut impl Outputs<F>,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(to).filter(|peer| peer.stage != Stage::Leaving) else { return false };
        let soft = self.limits.unread_soft_bytes;
        let most = usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(1); // at the limit, its calls would wait
        let is_full = peer.backlog > 0 && self.accounts.has_room(peer.account, cost, Use::Event, &self.limits).is_err();
        let room = if is_full { most.min(peer.unread) } else { most };
        self.congested += usize::from((peer.unread as u64) < soft && (peer.unread + cost) as u64 >= soft);
        peer.unread += cost;
        self.work += cost as u64;
        self.accounts.charge(peer.account, Account::bytes(cost));
        self.counters.events_delivered += 1;
        let class = Class::Droppable(Keep { room, ..keep });
        out.push(Output::Send { to, item: Item { message: Message::Event(event), cost, class, lost: 0 } });
        true
    }

    /// Items of this cost were dropped before a socket took them. Returns whether its peer has room again.
    pub(crate) fn shed(&mut self, to: PeerId, cost: usize) -> bool {
        let Some(peer) = self.peers.get_mut(to) else { return false };
        let soft = self.limits.unread_soft_bytes;
        let was_congested = peer.unread as u64 >= soft;
        peer.unread -= cost;
        peer.backlog = peer.backlog.min(peer.unread);
        let has_room = was_congested && (peer.unread as u64) < soft;
        self.accounts.discharge_bytes(peer.account, cost);
        self.congested -= usize::from(has_room);
        has_room
    }

    /// Whether a peer reads what it is sent, so that more of what can wait may follow.
    pub(crate) fn reads_on(&self, id: PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.backlog == 0 && peer.unread < BATCH)
    }

    /// A socket has taken items of this cost. Returns whether its peer has begun to read again.
    #[inline]
    pub(crate) fn written(&mut self, to: PeerId, cost: usize) -> bool {
        let Some(peer) = self.peers.get_mut(to) else { return false };
        let soft = self.limits.unread_soft_bytes;
        let was_congested = peer.unread as u64 >= soft;
        self.peaks.unread = self.peaks.unread.max(peer.unread as u64);
        peer.unread -= cost;
        peer.backlog = peer.unread;
        let is_congested = peer.unread as u64 >= soft;
        self.accounts.discharge_bytes(peer.account, cost);
        let reads_again = was_congested && !is_congested;
        self.congested -= usize::from(reads_again);
        reads_again
    }

    /// Charges what the kernel holds for a peer. If a quota is full and the peer reads nothing, this cuts the one that holds most of it
    /// among those that do not read.
    #[cold]
    pub(crate) fn sunk<F>(&mut self, to: PeerId, bytes: usize, is_stuck: bool, out: &mut impl Outputs<F>) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        let had = std::mem::replace(&mut peer.sunk, bytes);
        peer.is_stuck = is_stuck;
        let account = peer.account;
        if bytes >= had {
            self.accounts.charge(account, Account::bytes(bytes - had));
        } else {
            self.accounts.discharge_bytes(account, had - bytes);
        }
        if is_stuck && let Err(full) = self.accounts.has_room(account, 0, Use::Unread, &self.limits) {
            self.cut_hog(full, account, out);
        }
    }

    /// Charges what the front keeps for a peer's calls. It comes with them, so it needs no refusal of its own.
    #[cold]
    pub(crate) fn keep<F>(&mut self, by: PeerId, bytes: usize, out: &mut impl Outputs<F>) {
        let Some(peer) = self.peers.get_mut(by) else { return };
        let (account, had) = (peer.account, std::mem::replace(&mut peer.kept, bytes));
        if bytes >= had {
            self.charge_or_cut(account, bytes - had, out);
        } else {
            self.accounts.discharge_bytes(account, had - bytes);
        }
    }

    /// Charges bytes for a call that runs at once. If a quota is full, this cuts a peer that does not read, or refuses the call while
    /// all peers read.
    #[inline]
    pub(crate) fn charge_running<F>(
        &mut self,
        payer: AccountId,
        bytes: usize,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        match self.accounts.charge_bytes(payer, bytes, Use::Unread, &self.limits) {
            Ok(()) => Ok(()),
            Err(full) => self.charge_though_full(full, (payer, bytes), out),
        }
    }

    #[cold]
    fn charge_though_full<F>(
        &mut self,
        full: Full,
        (payer, bytes): (AccountId, usize),
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        if !self.cut_hog(full, payer, out) && !self.fits_beside_kernel(payer, bytes) {
            return Err(self.busy(full, Use::Unread));
        }
        self.accounts.charge(payer, Account::bytes(bytes));
        Ok(())
    }

    /// Whether bytes fit a user's quota but for what lies unread in the kernel. Whether that is read shows only after some time, and
    /// until then the user's other calls go on.
    #[cold]
    fn fits_beside_kernel(&self, account: AccountId, bytes: usize) -> bool {
        let own = self.peers.iter().filter(|(_, peer)| peer.account == account);
        let sunk = own.map(|(_, peer)| peer.sunk as u64).sum::<u64>();
        let held = self.accounts.held(account).bytes.saturating_sub(sunk) + bytes as u64;
        sunk > 0 && held <= self.limits.bytes_per_uid
    }

    /// Charges bytes for what cannot be refused. If a quota is full, this cuts the peer that holds most of it among those that do not
    /// read.
    #[inline(always)] // twice for each call
    pub(crate) fn charge_or_cut<F>(&mut self, payer: AccountId, bytes: usize, out: &mut impl Outputs<F>) {
        if let Err(full) = self.accounts.charge_bytes(payer, bytes, Use::Unread, &self.limits) {
            self.cut_and_charge(full, (payer, bytes), out);
        }
    }

    #[cold]
    fn cut_and_charge<F>(&mut self, full: Full, (payer, bytes): (AccountId, usize), out: &mut impl Outputs<F>) {
        self.cut_hog(full, payer, out);
        self.accounts.charge(payer, Account::bytes(bytes));
    }

    /// Charges bytes for what can be refused, or refuses it.
    /// `waiting` is what waits for its connection already.
    pub(crate) fn charge_or_refuse(&mut self, payer: AccountId, bytes: usize, waiting: usize) -> Result<(), Refusal> {
        let of = if waiting < FEW { Use::FirstWaiting } else { Use::Waiting };
        let charged = self.accounts.charge_bytes(payer, bytes, of, &self.limits);
        charged.map_err(|full| self.busy(full, of))
    }

    fn busy(&self, full: Full, of: Use) -> Refusal {
        match full {
            Full::User | Full::Strangers => Refusal::UserBusy(of.part_of(self.limits.bytes_per_uid)),
            Full::Broker => Refusal::BrokerBusy(of.part_of(self.limits.bytes_total)),
        }
    }

    /// Cuts a peer that has broken the protocol, with a goodbye that says how.
    #[cold]
    pub(crate) fn violate<F>(&mut self, id: PeerId, violation: &Violation, out: &mut impl Outputs<F>) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.stage != Stage::Leaving) else { return };
        peer.stage = Stage::Leaving;
        self.counters.connections_cut += 1;
        let from = Party::new(Some(peer.number), &peer.identity);
        out.push(Output::Log(Event::Cut { from, reason: violation.to_string() }));
        let goodbye = Goodbye { code: ErrorCode::PROTOCOL, text: violation.to_string() };
        out.push(Output::Cut { peer: id, goodbye });
    }

    /// Cuts a connection because a quota is full: the one that holds most of it among those that do not read, not the one that filled
    /// it. While all peers read, none is cut, because everything leaves at the end of the turn.
    #[cold]
    pub(crate) fn cut_hog<F>(&mut self, full: Full, account: AccountId, out: &mut impl Outputs<F>) -> bool {
        let is_of = |peer: &Peer| match full {
            Full::User => peer.account == account,
            Full::Strangers => peer.effect == Effect::Deny,
            Full::Broker => self.accounts.is_beyond(peer.account),
        };
        let is_candidate = |peer: &Peer| (peer.backlog > 0 || peer.is_stuck) && is_of(peer);
        let weight = |peer: &Peer| (self.accounts.held(peer.account).bytes, peer.unread + peer.sunk);
        let candidates = self.peers.iter().filter(|(_, peer)| is_candidate(peer));
        let Some((id, hog)) = candidates.max_by_key(|(_, peer)| weight(peer)) else { return false };
        let limit = match full {
            Full::User => self.limits.bytes_per_uid,
            Full::Strangers => self.limits.bytes_total / 8,
            Full::Broker => self.limits.bytes_total,
        };
        let violation = Violation::FillingQuota(hog.unread + hog.sunk, limit);
        self.violate(id, &violation, out); // nothing, if it is on its way out already: its bytes are about to be free
        true
    }

    /// Whether the next message of a peer is taken. One that would get still more to read, while it has as much unread as makes its
    /// calls wait, has to read first. Whether it does shows once it was written to. A service that doesn't read may go on answering:
    /// it may be blocked in writing an answer, and would never read again.
    #[inline]
    pub(crate) fn may_send(&self, id: PeerId) -> bool {
        self.congested == 0 || self.may_send_more(id)
    }

    #[cold]
    fn may_send_more(&self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get(id) else { return true };
        let soft = self.limits.unread_soft_bytes;
        let is_over = |bytes: usize| bytes as u64 >= soft;
        !is_over(peer.unread) || !is_over(peer.unread - peer.backlog) && !peer.instances.is_empty()
    }

    /// A peer has a frame to finish, from which nothing is read until it reads itself. It is cut if it was written to and didn't read.
    pub(crate) fn unread_too_long<F>(&mut self, now: Moment, id: PeerId, out: &mut impl Outputs<F>) {
        let Some((unread, backlog)) = self.peers.get(id).map(|peer| (peer.unread, peer.backlog)) else { return };
        if backlog == 0 {
            return self.peers.arm(id, now.after_ms(self.limits.frame_ms));
        }
        self.violate(id, &not_reading(unread, self.limits.unread_soft_bytes), out);
    }

    /// Applies new limits.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.accounts.settle(&self.limits);
        self.congested = self.count_congested();
    }

    /// The number of congested peers. Besides new limits, for the invariants.
    pub(crate) fn count_congested(&self) -> usize {
        self.peers.iter().filter(|(_, peer)| peer.unread as u64 >= self.limits.unread_soft_bytes).count()
    }

    /// Checks the count. For the invariants.
    ///
    /// # Panics
    /// If it is wrong.
    pub(crate) fn assert_congested(&self) {
        assert_eq!(self.congested, self.count_congested(), "peers with much unread");
    }

    /// Whether a peer is on its way out. Its frame waits no longer.
    pub(crate) fn leaves(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return true };
        let leaves = peer.stage == Stage::Leaving;
        if let Some(frame) = peer.frame.as_mut().filter(|_| leaves) {
            frame.waiting = None;
        }
        leaves
    }

    /// The account and the number of a connected peer.
    pub(crate) fn payer(&self, id: PeerId) -> Option<(AccountId, PeerNumber)> {
        self.peers.get(id).map(|peer| (peer.account, peer.number))
    }
}

/// The number of calls, waits or registrations of a connection that may use the room that is kept for the first ones of each.
const FEW: usize = 4;

/// Bytes of what can wait that are sent to a peer before it has to read: more than its socket takes at once is of no use.
const BATCH: usize = 64 * 1024;

fn not_reading(unread: usize, limit: u64) -> Violation {
    Violation::NotReading(unread, usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use ipc_protocol::NoFd;

    use super::*;

    fn post_with_peer() -> (Post, PeerId) {
        let mut post = Post::new(Limits { unread_soft_bytes: 500, unread_hard_bytes: 1_000, ..Limits::default() });
        let id = post.admit(Moment(0), Identity::new(7, 7), Effect::Allow, &mut Vec::<Output<NoFd>>::new());
        (post, id)
    }

    #[test]
    fn what_is_sent_is_charged_until_it_is_written() {
        let (mut post, peer) = post_with_peer();
        let mut out: Vec<Output<NoFd>> = Vec::new();
        post.send(peer, Message::Pong(1), &mut out);
        let [Output::Send { item, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!(post.accounts.of(7).bytes, item.cost as u64);
        post.written(peer, item.cost);
        assert_eq!(post.accounts.of(7).bytes, 0);
    }

    #[test]
    fn what_is_sent_counts_as_work() {
        let (mut post, peer) = post_with_peer();
        let mut out: Vec<Output<NoFd>> = Vec::new();
        post.send(peer, Message::Pong(1), &mut out);
        let [Output::Send { item, .. }] = &out[..] else { panic!("{out:?}") };
        assert_eq!(post.work, item.cost as u64);
    }

    #[test]
    fn a_peer_that_reads_may_be_sent_more_than_the_limit_in_one_turn() {
        let (mut post, peer) = post_with_peer();
        let mut out: Vec<Output<NoFd>> = Vec::new();
        (0..20).for_each(|id| post.send(peer, Message::Pong(id), &mut out));
        assert_eq!(out.len(), 20);
    }

    #[test]
    fn a_peer_that_does_not_read_is_cut_at_the_limit() {
        let (mut post, peer) = post_with_peer();
        let mut out: Vec<Output<NoFd>> = Vec::new();
        post.send(peer, Message::Pong(0), &mut out);
        assert!(!post.written(peer, 0), "it took nothing");
        (0..20).for_each(|id| post.send(peer, Message::Pong(id), &mut out));
        let cuts = out.iter().filter(|output| matches!(output, Output::Cut { .. })).count();
        assert_eq!(cuts, 1);
    }

    #[test]
    fn the_groups_of_a_connection_are_charged_to_its_user() {
        let mut post = Post::new(Limits::default());
        let mut identity = Identity::new(7, 7);
        identity.groups = (0..50).collect();
        let peer = post.admit(Moment(0), identity, Effect::Allow, &mut Vec::<Output<NoFd>>::new());
        assert_eq!(post.accounts.of(7).bytes, 2 * 4 * 50);
        post.dismiss(peer, &mut Vec::<Output<NoFd>>::new());
        assert_eq!(post.accounts.total(), Account::default());
    }

    #[test]
    fn nothing_is_left_of_a_peer_that_is_gone() {
        let (mut post, peer) = post_with_peer();
        let mut out: Vec<Output<NoFd>> = Vec::new();
        post.send(peer, Message::Pong(1), &mut out);
        post.dismiss(peer, &mut out);
        assert_eq!((post.accounts.by_user().len(), post.accounts.total()), (0, Account::default()));
        assert_eq!(post.peers.next_overdue(), None);
    }
}
