//! Locking: peers take locks and give them back, and those who wait get them in order of arrival.

use ipc_protocol::{
    ServiceName,
    control::{self, LockShown, LockWaiter},
};

use super::{
    accounts::Account,
    answer,
    calls::{Caller, Stage},
    ids::{AccountId, CallId, LockId, PeerId},
    locks::{Lock, Waiter, charge_of},
    output::Outputs,
    peers::Peers,
    refusal::Refusal,
    switchboard::{Origin, Switchboard},
};

impl<F> Switchboard<F> {
    /// `ipc.lock`: takes a place, or waits for one.
    pub(crate) fn lock(
        &mut self,
        origin: Origin,
        request: &control::Lock,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Caller::Peer { peer: peer_id, .. } = origin.caller else { return Err(needs_connection()) };
        let must_wait = self.may_lock(peer_id, request)?;
        let (parts, charge) = (self.locks_of(peer_id), charge_of(&request.name));
        if must_wait {
            self.has_place_for_caller(&origin)?;
            let id = self.locks.open(request);
            let call = self.open_waiting(origin, Stage::Locking(id), charge)?;
            let sequence = self.calls.get(call).map_or(0, |slot| slot.sequence);
            self.locks.stand_in_line(id, sequence, Waiter { call, peer: peer_id });
            self.note_lock(peer_id, id);
            return Ok(());
        }
        self.post.charge_or_refuse(origin.payer, charge, parts)?;
        let id = self.locks.open(request);
        self.locks.hold(id, peer_id);
        self.note_lock(peer_id, id);
        self.send_to_caller(&origin.caller, |id| answer::reply(id, &control::Empty {}), out);
        Ok(())
    }

    /// `ipc.unlock`. The answer is sent before the next one is told that it holds the lock.
    pub(crate) fn unlock(
        &mut self,
        origin: &Origin,
        name: &ServiceName,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Caller::Peer { peer, .. } = origin.caller else { return Err(needs_connection()) };
        let found = self.locks.find(name).filter(|(_, lock)| lock.holders.contains(&peer));
        let (id, _) = found.ok_or_else(|| Refusal::NoLock(name.clone()))?;
        self.forget_lock(peer, id);
        self.send_to_caller(&origin.caller, |id| answer::reply(id, &control::Empty {}), out);
        self.release(peer, origin.payer, id, out);
        Ok(())
    }

    /// Gives back what a peer holds whose connection has ended. What it waits for ends with its calls.
    pub(crate) fn release_all(&mut self, peer_id: PeerId, out: &mut impl Outputs<F>) {
        let Some(peer) = self.post.peers.get_mut(peer_id) else { return };
        let (locks, account) = (std::mem::take(&mut peer.locks), peer.account);
        locks.into_iter().for_each(|id| self.release(peer_id, account, id, out));
    }

    /// Takes a call out of the line of a lock, and discharges its part.
    pub(crate) fn leave_line(&mut self, call: CallId, id: LockId) {
        let Some(slot) = self.calls.get(call) else { return };
        let charge = self.locks.leave_line(id, slot.sequence);
        self.post.accounts.discharge(slot.payer, Account::bytes(charge));
        if let Caller::Peer { peer, .. } = slot.caller {
            self.forget_lock(peer, id);
        }
    }

    /// The lock of a name, as `ipc.show` shows it in at most about `room` bytes.
    pub(crate) fn show_lock(&self, name: &ServiceName, mut room: usize) -> Option<LockShown> {
        let (_, lock) = self.locks.find(name)?;
        let holders = shown(&self.post.peers, lock.holders.iter(), &mut room);
        let waiting = shown(&self.post.peers, lock.line.values().map(|waiter| &waiter.peer), &mut room);
        let waiters = u32::try_from(lock.line.len()).unwrap_or(u32::MAX);
        Some(LockShown { places: lock.places, holders, waiting, waiters })
    }

    /// Checks whether a peer may ask for a lock, apart from policy. Returns whether it has to wait.
    fn may_lock(&self, peer_id: PeerId, request: &control::Lock) -> Result<bool, Refusal> {
        let (name, limit) = (&request.name, self.post.limits.locks_per_peer);
        if self.draining {
            return Err(Refusal::Draining);
        }
        if name.is_reserved() {
            return Err(Refusal::ReservedName(name.clone()));
        }
        let found = self.locks.find(name);
        if let Some((id, lock)) = found {
            self.may_join(peer_id, (id, lock), request.places)?;
        }
        if self.locks_of(peer_id) as u64 >= limit {
            return Err(Refusal::TooManyLocks(limit));
        }
        match found.filter(|(_, lock)| !lock.has_place()) {
            Some((_, lock)) if !request.wait => Err(Refusal::LockBusy(name.clone(), self.holder_of(lock))),
            full => Ok(full.is_some()),
        }
    }

    fn may_join(&self, peer_id: PeerId, (id, lock): (LockId, &Lock), places: u32) -> Result<(), Refusal> {
        if self.post.peers.get(peer_id).is_some_and(|peer| peer.locks.contains(&id)) {
            let text = format!("this connection holds the lock '{}' already, or waits for it", lock.name);
            return Err(Refusal::Invalid(text));
        }
        if places != lock.places {
            let text =
                format!("places: the lock '{}' has {} for those who hold it, not {places}", lock.name, lock.places);
            return Err(Refusal::Invalid(text));
        }
        Ok(())
    }

    /// Describes one of those who hold a lock to the peer that can't have it.
    fn holder_of(&self, lock: &Lock) -> String {
        let holder = lock.holders.first().and_then(|peer| self.post.peers.get(*peer));
        let others = lock.holders.len().saturating_sub(1);
        let and = if others > 0 { format!(" and {others} more") } else { String::new() };
        holder.map_or_else(|| "another peer".to_owned(), |peer| format!("{}{and}", peer.describe()))
    }

    fn locks_of(&self, peer: PeerId) -> usize {
        self.post.peers.get(peer).map_or(0, |peer| peer.locks.len())
    }

    fn note_lock(&mut self, peer: PeerId, id: LockId) {
        if let Some(peer) = self.post.peers.get_mut(peer) {
            peer.locks.push(id);
            self.post.peaks.locks = self.post.peaks.locks.max(peer.locks.len() as u64);
        }
    }

    fn forget_lock(&mut self, peer: PeerId, id: LockId) {
        if let Some(peer) = self.post.peers.get_mut(peer) {
            peer.locks.retain(|own| *own != id);
        }
    }

    /// Frees the place of a holder, and gives it to the next in line.
    fn release(&mut self, peer: PeerId, payer: AccountId, id: LockId, out: &mut impl Outputs<F>) {
        // It is kept while others wait for it, and has a holder again before this returns.
        let Some(charge) = self.locks.leave(id, peer) else { return };
        self.post.accounts.discharge(payer, Account::bytes(charge));
        while let Some(next) = self.locks.next(id) {
            self.grant(id, next, out);
        }
    }

    /// The part of one who waits becomes that of a holder: its charge, and its entry at its peer, stay.
    fn grant(&mut self, id: LockId, next: Waiter, out: &mut impl Outputs<F>) {
        let Some(slot) = self.calls.get_mut(next.call) else { return };
        slot.stage = Stage::Unplaced;
        self.locks.promote(id, slot.sequence, next.peer);
        self.finish(next.call, |id| answer::reply(id, &control::Empty {}), out);
    }
}

/// The first of some peers, as they are shown.
fn shown<'a>(peers: &Peers, of: impl Iterator<Item = &'a PeerId>, room: &mut usize) -> Vec<LockWaiter> {
    let mut shown = Vec::new();
    for peer in of.filter_map(|id| peers.get(*id)).take(SHOWN) {
        let bytes = ROW + 6 * peer.agent.len(); // a control character becomes six in JSON
        if bytes > *room && !shown.is_empty() {
            break;
        }
        *room = room.saturating_sub(bytes);
        let (uid, pid) = (peer.identity.uid, peer.identity.pid);
        shown.push(LockWaiter { peer: peer.number, uid, pid, agent: peer.agent.clone() });
    }
    shown
}

/// The refusal of a lock that nobody could hold.
fn needs_connection() -> Refusal {
    Refusal::Invalid("a lock is held by a connection: it cannot be taken by datagram, or one-way".to_owned())
}

/// The number of holders shown, and of those who wait.
const SHOWN: usize = 32;
/// Bytes of the numbers of a peer that is shown, and of the names of its members.
const ROW: usize = 128;
