//! What must hold for the router's state after each step. Tests and fuzz targets check it. The broker itself never does, so that
//! what panics here, and in the `assert_…` of the files that this one asks, ends no broker.

use std::{collections::BTreeMap, fmt::Debug};

use super::{
    accounts::Account,
    calls::{Caller, Role, Slot, Stage},
    ids::{AccountId, InstanceId, NameId, PeerId},
    names::{Instance, Name},
    peers::{Peer, Stage as PeerStage},
    policy::Effect,
    router::Router,
    switchboard::{SLOT, Switchboard, charge_of, has_room},
    watches,
};

impl<F: Debug> Router<F> {
    /// Checks that charges equal what is stored, that every call is in exactly the lists that its state demands, and that no call
    /// waits for an instance with room, and no frame for room that exists.
    ///
    /// # Panics
    /// On the first violation, which the message describes.
    pub fn assert_invariants(&self) {
        self.board.assert_invariants();
        self.assert_waiting();
    }

    /// Checks that waiting frames are in their user's queue, and that the first one doesn't fit.
    fn assert_waiting(&self) {
        use super::limits::Use;
        let post = &self.board.post;
        let mut accounts = Vec::new();
        for (account, id) in self.assembly.waiting() {
            let peer = post.peers.get(id).expect("peers that are gone do not wait");
            assert_eq!(peer.account, account, "{} waits for another user's room", peer.number);
            let frame = peer.frame.as_ref().and_then(|frame| frame.waiting).expect("its frame waits");
            if !accounts.contains(&account) {
                accounts.push(account);
                let more = frame.len.saturating_sub(peer.frame.as_ref().map_or(0, |frame| frame.held));
                let room = post.accounts.has_room(account, more, Use::Assembly, &post.limits);
                assert!(room.is_err(), "{} waits for room that there is", peer.number);
            }
        }
        let waiting = post.peers.iter().filter(|(_, peer)| peer.frame.as_ref().is_some_and(|f| f.waiting.is_some()));
        assert_eq!(waiting.count(), self.assembly.waiting().count(), "frames that wait, and peers in line");
    }
}

impl<F: Debug> Switchboard<F> {
    fn assert_invariants(&self) {
        self.assert_charges();
        self.post.peers.iter().for_each(|(id, peer)| self.assert_peer(id, peer));
        let subscribed = self.post.peers.iter().map(|(_, peer)| peer.subscriptions.len()).sum::<usize>();
        assert_eq!(subscribed, self.subscriptions.len(), "subscriptions, and those that peers know of");
        self.names.iter().for_each(|(id, name)| self.assert_name(id, name));
        self.names.instances().for_each(|(id, instance)| self.assert_instance(id, instance));
        self.assert_lists();
        self.subscriptions.assert_whole();
        self.retained.assert_sums();
        self.post.assert_congested();
        self.calls.assert_timed();
        self.post.peers.assert_timed();
        self.watches.assert_watching(self.calls.iter().filter_map(|(id, slot)| match &slot.stage {
            Stage::Watching(wait) => Some((id, &**wait)),
            Stage::Queued(..) | Stage::Direct(..) | Stage::Running(_) | Stage::Locking(_) | Stage::Unplaced => None,
        }));
        self.assert_locks();
    }

    /// Checks that each peer knows of exactly the locks that it holds or waits for.
    fn assert_locks(&self) {
        let waiting = self.calls.iter().filter_map(|(id, slot)| match slot.stage {
            Stage::Locking(lock) => Some((id, slot, lock)),
            _ => None,
        });
        let peer_of = |slot: &Slot<F>| match slot.caller {
            Caller::Peer { peer, .. } => Some(peer),
            _ => None,
        };
        let waiting: Vec<_> = waiting.map(|(id, slot, lock)| (id, slot.sequence, lock, peer_of(slot))).collect();
        let in_line = waiting.iter().filter_map(|(.., lock, peer)| Some(((*peer)?, *lock)));
        let mut parts: Vec<_> = self.locks.holders().chain(in_line).collect();
        let known = |(id, peer): (PeerId, &Peer)| peer.locks.iter().map(move |lock| (id, *lock)).collect::<Vec<_>>();
        let mut of_peers: Vec<_> = self.post.peers.iter().flat_map(known).collect();
        parts.sort_unstable();
        of_peers.sort_unstable();
        assert_eq!(parts, of_peers, "locks that are held or waited for, and those that peers know of");
        assert!(parts.windows(2).all(|two| two[0] != two[1]), "a peer has two parts in a lock: {parts:?}");
        self.locks.assert_whole(waiting.into_iter());
    }

    /// Recomputes every account from the tables.
    fn assert_charges(&self) {
        let mut stored: BTreeMap<u32, Account> = BTreeMap::new();
        let mut stored_of_strangers = Vec::new();
        let mut charge = |account: AccountId, what: Account| {
            if self.post.accounts.effect(account) == Effect::Deny {
                stored_of_strangers.push(what.bytes);
            }
            let uid = self.post.accounts.uid(account).expect("who holds something has an account");
            stored.entry(uid).or_default().add(what);
        };
        for (_, peer) in self.post.peers.iter() {
            charge(peer.account, Account::connection());
            charge(peer.account, Account::bytes(peer.charge()));
        }
        for (_, instance) in self.names.instances() {
            let peer = self.post.peers.get(instance.peer).expect("an instance has a peer");
            charge(peer.account, Account::bytes(instance.charge));
        }
        for (_, row) in self.subscriptions.iter() {
            let peer = self.post.peers.get(row.peer).expect("a subscription has a peer");
            charge(peer.account, Account::bytes(row.charge()));
        }
        for (peer, lock) in self.locks.holders() {
            let peer = self.post.peers.get(peer).expect("who holds a lock is connected");
            charge(peer.account, Account::bytes(self.locks.charge(lock)));
        }
        for kept in self.retained.iter() {
            charge(kept.payer, Account::bytes(kept.charge()));
        }
        for (_, slot) in self.calls.iter() {
            charge(slot.payer, Account::bytes(SLOT));
            match &slot.stage {
                Stage::Queued(_, call) | Stage::Direct(_, call) => charge(slot.payer, Account::bytes(charge_of(call))),
                Stage::Watching(wait) => charge(slot.payer, Account::bytes(watches::charge_of(wait))),
                Stage::Locking(lock) => charge(slot.payer, Account::bytes(self.locks.charge(*lock))),
                Stage::Running(_) | Stage::Unplaced => {}
            }
            if matches!(slot.caller, Caller::Datagram(_) | Caller::OneWay) {
                charge(slot.payer, Account::loose_call());
            }
        }
        assert_eq!(stored, self.post.accounts.by_user(), "what is stored, and what is charged");
        let mut total = Account::default();
        stored.values().for_each(|account| total.add(*account));
        assert_eq!(total, self.post.accounts.total(), "what all hold");
        let strangers = stored_of_strangers.iter().sum::<u64>();
        assert_eq!(strangers, self.post.accounts.strangers(), "what all strangers hold");
    }

    fn assert_peer(&self, id: PeerId, peer: &Peer) {
        assert_eq!(self.post.peers.by_number(peer.number), Some(id), "{} is not found under its number", peer.number);
        for subscription in &peer.subscriptions {
            let of = self.subscriptions.get(*subscription).map(|row| row.peer);
            assert_eq!(of, Some(id), "{} holds {subscription:?}, which is not its own", peer.number);
        }
        let patterns = peer.subscriptions.iter().filter_map(|id| self.subscriptions.get(*id));
        let bytes = patterns.map(|row| row.pattern.as_str().len() as u64).sum::<u64>();
        assert_eq!(bytes, peer.patterns, "bytes of the patterns of {}", peer.number);
        for instance in &peer.instances {
            let of = self.names.instance(*instance).map(|instance| instance.peer);
            assert_eq!(of, Some(id), "{} holds {instance:?}, which is not its own", peer.number);
        }
    }

    fn assert_name(&self, id: NameId, name: &Name) {
        self.names.assert_name(id, name);
        for instance in name.instances().filter_map(|id| self.names.instance(id)) {
            assert!(
                name.queue.is_empty() || !has_room(&self.post.peers, &self.post.limits, instance),
                "calls wait for {} while an instance has room",
                name.name
            );
        }
    }

    fn assert_instance(&self, id: InstanceId, instance: &Instance) {
        let peer = self.post.peers.get(instance.peer).expect("an instance has a peer");
        assert!(peer.instances.contains(&id), "instance {id:?} is unknown to its peer");
        assert!(
            instance.direct.is_empty() || !has_room(&self.post.peers, &self.post.limits, instance),
            "calls wait for {} while it has room",
            peer.number
        );
        if instance.window > 0 {
            assert!(instance.running.len() <= instance.window, "instance {id:?} is over its window");
            return;
        }
        assert!(instance.name.is_none() && instance.direct.is_empty(), "instance {id:?} is retired and still called");
        let owes = !instance.running.is_empty() || peer.stage == PeerStage::Leaving;
        assert!(owes, "instance {id:?} is retired, owes nothing and is still there");
    }

    fn assert_lists(&self) {
        let walk = |list, role, belongs: &dyn Fn(&Slot<F>) -> bool| self.calls.assert_list(list, role, belongs);
        let (mut pending, mut placed) = (0, 0);
        for (id, peer) in self.post.peers.iter() {
            peer.pending.assert_whole();
            for (number, call) in peer.pending.iter() {
                let caller = self.calls.get(call).map(|slot| &slot.caller);
                assert_eq!(caller, Some(&Caller::Peer { peer: id, id: number }), "{} waits for {call:?}", peer.number);
            }
            pending += peer.pending.len() as usize;
        }
        for (id, name) in self.names.iter() {
            placed += walk(&name.queue, Role::Place, &|slot| matches!(slot.stage, Stage::Queued(at, _) if at == id));
        }
        for (id, instance) in self.names.instances() {
            let is_direct = |slot: &Slot<F>| matches!(slot.stage, Stage::Direct(at, _) if at == id);
            let is_running = |slot: &Slot<F>| matches!(slot.stage, Stage::Running(at) if at == id);
            placed += walk(&instance.direct, Role::Place, &is_direct);
            placed += walk(&instance.running, Role::Place, &is_running);
        }
        let count = |wanted: &dyn Fn(&Slot<F>) -> bool| self.calls.iter().filter(|(_, slot)| wanted(slot)).count();
        assert_eq!(pending, count(&|slot| matches!(slot.caller, Caller::Peer { .. })), "calls in their callers' lists");
        assert_eq!(
            placed,
            count(&|slot| !matches!(slot.stage, Stage::Watching(_) | Stage::Locking(_))),
            "calls in the place they are in"
        );
    }
}
