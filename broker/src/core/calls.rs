//! Pending calls: one slot per call, from its acceptance until its service has answered it.
//!
//! A slot is in up to two lists at once, with its own links: its place (a queue, or the running calls of an instance), and the wheel
//! of deadlines. Its caller knows it by number ([`Pending`](super::pending::Pending)).

use ipc_protocol::{control::Wait, wire::Call};
use serde::{Deserialize, Serialize};

use super::{
    datagrams::ReturnAddress,
    ids::{AccountId, CallId, InstanceId, LockId, NameId, OfCall, PeerId},
    list::{Link, List, Node},
    moment::Moment,
    table::Table,
    wheel::{Timed, Wheel},
};

/// A pending call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Slot<F> {
    /// The receiver of the answer.
    pub(crate) caller: Caller,
    /// The stage that the call has reached.
    pub(crate) stage: Stage<F>,
    /// When it ends at the latest.
    pub(crate) deadline: Moment,
    /// The order of acceptance among all calls.
    pub(crate) sequence: u64,
    /// The account that is charged for it: that of the caller's user, even once the caller is gone.
    pub(crate) payer: AccountId,
    links: [Link<OfCall>; 2],
}

/// The receiver of the answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Caller {
    /// A peer, with its own number for the call.
    Peer {
        /// The peer.
        peer: PeerId,
        /// Its number for the call.
        id: u64,
    },
    /// The sender of a datagram, with its own number for the call.
    Datagram(Box<(ReturnAddress, u64)>),
    /// None, because the call is one-way. The service's answer only frees its place in the window.
    OneWay,
    /// None any more: the caller has cancelled, timed out or died. The service has received a cancel, and still owes the answer.
    Gone,
}

/// The stage of a call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stage<F> {
    /// In the queue of a name: it has not run.
    Queued(NameId, Box<Call<F>>),
    /// In the queue of one instance, called by the peer's number: it has not run.
    Direct(InstanceId, Box<Call<F>>),
    /// Delivered to an instance: it may have run.
    Running(InstanceId),
    /// A call of `ipc.wait`, which ends when a name is offered or goes.
    Watching(Box<Wait>),
    /// A call of `ipc.lock`, which ends when the lock has a place for it.
    Locking(LockId),
    /// Between two places, within one step of the router.
    Unplaced,
}

/// The list that a link of a slot belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// A queue, or the running calls of an instance.
    Place,
    /// A bucket of deadlines.
    Deadline,
}

/// The pending calls and their deadlines.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Calls<F> {
    slots: Table<OfCall, Slot<F>>,
    wheel: Wheel<OfCall>,
    sequence: u64,
}

impl<F> Calls<F> {
    pub(crate) fn new() -> Self {
        Self { slots: Table::new(), wheel: Wheel::new(), sequence: 0 }
    }

    /// Opens a slot, and puts it on the wheel. It is in no other list yet.
    pub(crate) fn open(&mut self, caller: Caller, stage: Stage<F>, deadline: Moment, payer: AccountId) -> CallId {
        self.sequence += 1;
        let links = Default::default();
        let id = self.slots.insert(Slot { caller, stage, deadline, sequence: self.sequence, payer, links });
        self.wheel.arm(&mut self.slots, id);
        id
    }

    /// Detaches the caller from a call, and takes the call off the wheel. No caller waits for the answer any more.
    pub(crate) fn take_caller(&mut self, id: CallId) -> Caller {
        let Some(slot) = self.slots.get_mut(id) else { return Caller::Gone };
        let caller = std::mem::replace(&mut slot.caller, Caller::Gone);
        if !matches!(caller, Caller::Gone) {
            self.wheel.disarm(&mut self.slots, id);
        }
        caller
    }

    /// Closes a slot, which must have left its lists. Returns the account that was charged for it.
    pub(crate) fn close(&mut self, id: CallId) -> Option<AccountId> {
        self.slots.drop_row(id, |slot| slot.payer)
    }

    /// Appends a call to a list.
    pub(crate) fn push(&mut self, list: &mut List<OfCall>, role: Role, id: CallId) {
        list.push(&mut self.slots, role, id);
    }

    /// Takes a call out of the list it is in.
    pub(crate) fn unlink(&mut self, list: &mut List<OfCall>, role: Role, id: CallId) {
        list.unlink(&mut self.slots, role, id);
    }

    /// Calls past their deadline, up to `most` of them.
    pub(crate) fn expired(&mut self, now: Moment, most: usize) -> Vec<CallId> {
        self.wheel.expired(&self.slots, now, most)
    }

    /// When to call [`Calls::expired`] next.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.wheel.next()
    }

    /// The calls of a list, the oldest first.
    pub(crate) fn ids(&self, list: &List<OfCall>) -> Vec<CallId> {
        list.ids(&self.slots, Role::Place).collect()
    }

    pub(crate) fn is_roomy(&self) -> bool {
        self.slots.is_roomy()
    }

    /// Gives back memory of calls that have ended.
    pub(crate) fn give_back(&mut self) {
        self.slots.give_back();
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Slot<F>> {
        self.slots.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Slot<F>> {
        self.slots.get_mut(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallId, &Slot<F>)> {
        self.slots.iter()
    }
}

impl<F: std::fmt::Debug> Calls<F> {
    /// Checks a list of calls. For the invariants.
    ///
    /// # Panics
    /// If its links are broken, or it contains a call that does not belong there.
    pub(crate) fn assert_list(&self, list: &List<OfCall>, role: Role, belongs: impl Fn(&Slot<F>) -> bool) -> usize {
        list.assert_whole(&self.slots, role, belongs)
    }

    /// Checks that exactly the calls with a caller and one-way calls are on the wheel. For the invariants.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) fn assert_timed(&self) {
        self.wheel.assert_armed(&self.slots, |slot| slot.caller != Caller::Gone);
    }
}

impl<F> Slot<F> {
    /// The instance that runs the call.
    pub(crate) fn runs_on(&self) -> Option<InstanceId> {
        match self.stage {
            Stage::Running(instance) => Some(instance),
            Stage::Queued(..) | Stage::Direct(..) | Stage::Watching(_) | Stage::Locking(_) | Stage::Unplaced => None,
        }
    }
}

impl<F> Node for Slot<F> {
    type Kind = OfCall;
    type Role = Role;

    fn link(&self, role: Role) -> &Link<OfCall> {
        &self.links[role as usize]
    }

    fn link_mut(&mut self, role: Role) -> &mut Link<OfCall> {
        &mut self.links[role as usize]
    }
}

impl<F> Timed for Slot<F> {
    const TIMER: Role = Role::Deadline;

    fn due(&self) -> Moment {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::NoFd;

    use super::*;
    use crate::core::ids::Id;

    fn id<K>() -> Id<K> {
        Id::from_bits(1 << 32).unwrap()
    }

    #[test]
    fn a_call_without_caller_has_no_deadline() {
        let mut calls = Calls::<NoFd>::new();
        let call = calls.open(Caller::OneWay, Stage::Running(id()), Moment(9_000), id());
        assert_eq!(calls.next_deadline(), Some(Moment(9_000)));
        assert_eq!(calls.take_caller(call), Caller::OneWay);
        assert_eq!((calls.next_deadline(), calls.take_caller(call)), (None, Caller::Gone));
    }
}
