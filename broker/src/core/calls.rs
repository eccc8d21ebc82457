//! Pending calls: one slot a call, from its acceptance until its service has answered it.
//!
//! A slot stands in up to three lists at once, by links of its own, so that each list costs O(1) however long it is:
//! the calls of its caller, the place where it is (a queue, or the calls an instance works on), and a bucket of deadlines.

use ipc_protocol::{Call, control::Wait};
use serde::{Deserialize, Serialize};

use super::{
    datagrams::ReturnAddress,
    moment::Moment,
    names::{InstanceId, NameId},
    peers::PeerId,
    table::{Id, Table},
};

/// Id of a pending call; as a number it is the id under which the call is delivered.
pub(crate) type CallId = Id<Slot>;

/// A pending call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// Who waits for the answer.
    pub(crate) caller: Caller,
    /// Where the call is.
    pub(crate) stage: Stage,
    /// When it ends at the latest.
    pub(crate) deadline: Moment,
    /// Order of acceptance among all calls.
    pub(crate) sequence: u64,
    links: [Link; 3],
}

/// Who waits for the answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Caller {
    /// A peer, by its own number of the call.
    Peer {
        /// The peer.
        peer: PeerId,
        /// Its number of the call.
        id: u64,
    },
    /// The sender of a datagram.
    Datagram {
        /// Where the answer goes.
        address: ReturnAddress,
        /// The sender's number of the call.
        id: u64,
        /// The sender's user, who pays.
        uid: u32,
    },
    /// Nobody from the start: the call is one-way. The service's answer only frees its place in the window.
    OneWay,
    /// Nobody any more: the caller gave up, timed out or died. The service was told, and still owes the answer.
    Gone,
}

/// Where a call is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// In the queue of a name: it has not run.
    Queued(NameId, Box<Waiting>),
    /// In the queue of one instance, called by the peer's number: it has not run.
    Direct(InstanceId, Box<Waiting>),
    /// Delivered to an instance: it may have run.
    Running(InstanceId),
    /// A call of `ipc.wait`: it ends when a name comes or goes.
    Watching(Box<Watching>),
    /// On its way from one place to the next, within one step of the router.
    Unplaced,
}

/// A call that waits in a queue, and who pays for its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    /// The call as it will be delivered.
    pub(crate) call: Call,
    /// The user charged for its bytes.
    pub(crate) payer: u32,
}

/// A call that waits for a name, and who pays for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Watching {
    /// What it waits for.
    pub(crate) wait: Wait,
    /// The user charged for it.
    pub(crate) payer: u32,
}

/// Which of its lists a link of a slot belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// The calls of one caller.
    Caller,
    /// A queue, or the calls an instance works on.
    Place,
    /// A bucket of deadlines.
    Deadline,
}

/// A list of slots, held together by the slots' own links.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    head: Option<CallId>,
    tail: Option<CallId>,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Link {
    previous: Option<CallId>,
    next: Option<CallId>,
}

/// The pending calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Calls {
    slots: Table<Slot>,
    sequence: u64,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { slots: Table::new(), sequence: 0 }
    }

    /// Opens a slot. It stands in no list yet.
    pub(crate) fn open(&mut self, caller: Caller, stage: Stage, deadline: Moment) -> CallId {
        self.sequence += 1;
        self.slots.insert(Slot { caller, stage, deadline, sequence: self.sequence, links: Default::default() })
    }

    /// Closes a slot, which must have left its lists.
    pub(crate) fn close(&mut self, id: CallId) -> Option<Slot> {
        self.slots.remove(id)
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&Slot> {
        self.slots.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut Slot> {
        self.slots.get_mut(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallId, &Slot)> {
        self.slots.iter()
    }

    /// Appends a call to a list.
    pub(crate) fn push(&mut self, list: &mut List, role: Role, id: CallId) {
        let previous = list.tail.replace(id);
        match previous {
            None => list.head = Some(id),
            Some(previous) => self.link(previous, role, |link| link.next = Some(id)),
        }
        self.link(id, role, |link| *link = Link { previous, next: None });
        list.len += 1;
    }

    /// Takes a call out of the list it is in.
    pub(crate) fn unlink(&mut self, list: &mut List, role: Role, id: CallId) {
        let Some(Link { previous, next }) = self.slots.get(id).map(|slot| slot.links[role as usize]) else { return };
        match previous {
            None => list.head = next,
            Some(previous) => self.link(previous, role, |link| link.next = next),
        }
        match next {
            None => list.tail = previous,
            Some(next) => self.link(next, role, |link| link.previous = previous),
        }
        self.link(id, role, |link| *link = Link::default());
        list.len -= 1;
    }

    /// The call behind `id` in its list of this role.
    pub(crate) fn next(&self, role: Role, id: CallId) -> Option<CallId> {
        self.slots.get(id)?.links[role as usize].next
    }

    /// The caller's call with the number `number`, searched from the newest: a caller has a limited number of them.
    pub(crate) fn find(&self, list: &List, number: u64) -> Option<CallId> {
        let mut at = list.tail;
        while let Some(id) = at {
            let slot = self.slots.get(id)?;
            if matches!(slot.caller, Caller::Peer { id, .. } if id == number) {
                return Some(id);
            }
            at = slot.links[Role::Caller as usize].previous;
        }
        None
    }

    /// Checks that a list holds together in both directions, and that each of its calls belongs there. For the invariants.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn assert_list(&self, list: &List, role: Role, belongs: impl Fn(&Slot) -> bool) -> usize {
        let (mut at, mut last, mut len) = (list.head, None, 0);
        while let Some(id) = at {
            let slot = self.slots.get(id).unwrap_or_else(|| panic!("{role:?} list holds {id:?}, which is closed"));
            assert!(belongs(slot), "{role:?} list holds {id:?}, which belongs elsewhere: {slot:?}");
            let link = slot.links[role as usize];
            assert_eq!(link.previous, last, "{role:?} link back of {id:?}");
            (last, at, len) = (at, link.next, len + 1);
            assert!(len <= list.len as usize, "{role:?} list has more than its {} calls", list.len);
        }
        assert_eq!((list.tail, list.len as usize), (last, len), "tail and length of a {role:?} list");
        len
    }

    fn link(&mut self, id: CallId, role: Role, change: impl FnOnce(&mut Link)) {
        if let Some(slot) = self.slots.get_mut(id) {
            change(&mut slot.links[role as usize]);
        }
    }
}

impl List {
    pub(crate) fn head(&self) -> Option<CallId> {
        self.head
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(calls: &mut Calls) -> CallId {
        calls.open(Caller::OneWay, Stage::Running(Id::from_bits(0)), Moment(0))
    }

    fn order(calls: &Calls, list: &List) -> Vec<CallId> {
        std::iter::successors(list.head(), |id| calls.next(Role::Place, *id)).collect()
    }

    #[test]
    fn a_call_leaves_its_list_from_any_place() {
        let (mut calls, mut list) = (Calls::new(), List::default());
        let ids = [(); 4].map(|()| open(&mut calls));
        ids.iter().for_each(|id| calls.push(&mut list, Role::Place, *id));

        calls.unlink(&mut list, Role::Place, ids[1]);
        assert_eq!(order(&calls, &list), [ids[0], ids[2], ids[3]]);
        calls.unlink(&mut list, Role::Place, ids[3]);
        calls.unlink(&mut list, Role::Place, ids[0]);
        assert_eq!(order(&calls, &list), [ids[2]]);
        calls.unlink(&mut list, Role::Place, ids[2]);
        assert!(list.is_empty() && list.head().is_none());
    }

    #[test]
    fn lists_of_different_roles_do_not_meet() {
        let (mut calls, mut place, mut deadline) = (Calls::new(), List::default(), List::default());
        let (a, b) = (open(&mut calls), open(&mut calls));
        calls.push(&mut place, Role::Place, a);
        calls.push(&mut deadline, Role::Deadline, b);
        calls.push(&mut deadline, Role::Deadline, a);
        calls.unlink(&mut deadline, Role::Deadline, b);
        assert_eq!(order(&calls, &place), [a]);
        assert_eq!(deadline.head(), Some(a));
    }
}
