//! What must be true of the router's state after each step. Tests and fuzz targets check it; the broker itself never pays for it.

use super::{
    accounts::{Account, Accounts},
    calls::{Caller, Role, Slot, Stage},
    names::{Instance, InstanceId, Name, NameId},
    peers::{Peer, PeerId, Stage as PeerStage},
    router::Router,
    routing::{self, has_room},
    watches,
};

impl Router {
    /// Checks that charges equal what is stored, that every call stands in exactly the lists that its state says, and that none
    /// waits for an instance that has room.
    ///
    /// # Panics
    /// On the first violation, with what it is.
    pub fn assert_invariants(&self) {
        self.assert_charges();
        self.peers.iter().for_each(|(id, peer)| self.assert_peer(id, peer));
        self.names.iter().for_each(|(id, name)| self.assert_name(id, name));
        self.names.instances().for_each(|(id, instance)| self.assert_instance(id, instance));
        self.assert_lists();
        self.deadlines.assert_armed(&self.calls);
        self.watches.assert_watching(self.calls.iter().filter_map(|(id, slot)| match &slot.stage {
            Stage::Watching(watching) => Some((id, &watching.wait)),
            Stage::Queued(..) | Stage::Direct(..) | Stage::Running(_) | Stage::Unplaced => None,
        }));
    }

    fn assert_charges(&self) {
        let mut stored = Accounts::default();
        for (_, peer) in self.peers.iter() {
            stored.charge(peer.identity.uid, Account::connection());
            stored.charge(peer.identity.uid, Account::bytes(peer.unread + peer.assembling));
        }
        for (_, instance) in self.names.instances() {
            let peer = self.peers.get(instance.peer).expect("an instance has a peer");
            stored.charge(peer.identity.uid, Account::bytes(instance.charge));
        }
        for (_, slot) in self.calls.iter() {
            match &slot.stage {
                Stage::Queued(_, waiting) | Stage::Direct(_, waiting) => {
                    stored.charge(waiting.payer, Account::bytes(routing::charge_of(&waiting.call)));
                }
                Stage::Watching(watching) => {
                    stored.charge(watching.payer, Account::bytes(watches::charge_of(&watching.wait)));
                }
                Stage::Running(_) | Stage::Unplaced => {}
            }
            if let Caller::Datagram { uid, .. } = slot.caller {
                stored.charge(uid, Account::datagram_call());
            }
        }
        assert!(stored.holds_the_same(&self.accounts), "stored {stored:?}, charged {:?}", self.accounts);
    }

    fn assert_peer(&self, id: PeerId, peer: &Peer) {
        assert_eq!(self.peers.by_number(peer.number), Some(id), "{} is not found under its number", peer.number);
        for instance in &peer.instances {
            let of = self.names.instance(*instance).map(|instance| instance.peer);
            assert_eq!(of, Some(id), "{} holds {instance:?}, which is not its own", peer.number);
        }
    }

    fn assert_name(&self, id: NameId, name: &Name) {
        assert!(!name.instances.is_empty(), "name {id:?} has no instance");
        assert_eq!(self.names.find(name.name.as_str().as_bytes()), Some(id), "{} is not found", name.name);
        for instance in &name.instances {
            let instance = self.names.instance(*instance).expect("a name has instances that exist");
            assert_eq!(instance.name, Some(id), "an instance of {} knows nothing of it", name.name);
            assert!(
                name.queue.is_empty() || !has_room(&self.peers, &self.limits, instance),
                "calls wait for {} while an instance has room",
                name.name
            );
        }
    }

    fn assert_instance(&self, id: InstanceId, instance: &Instance) {
        let peer = self.peers.get(instance.peer).expect("an instance has a peer");
        assert!(peer.instances.contains(&id), "instance {id:?} is unknown to its peer");
        assert!(
            instance.direct.is_empty() || !has_room(&self.peers, &self.limits, instance),
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
        let walk = |list, role, belongs: &dyn Fn(&Slot) -> bool| self.calls.assert_list(list, role, belongs);
        let (mut pending, mut placed) = (0, 0);
        for (id, peer) in self.peers.iter() {
            let is_its = |slot: &Slot| matches!(slot.caller, Caller::Peer { peer, .. } if peer == id);
            pending += walk(&peer.pending, Role::Caller, &is_its);
        }
        for (id, name) in self.names.iter() {
            placed += walk(&name.queue, Role::Place, &|slot| matches!(slot.stage, Stage::Queued(at, _) if at == id));
        }
        for (id, instance) in self.names.instances() {
            let is_direct = |slot: &Slot| matches!(slot.stage, Stage::Direct(at, _) if at == id);
            let is_running = |slot: &Slot| matches!(slot.stage, Stage::Running(at) if at == id);
            placed += walk(&instance.direct, Role::Place, &is_direct);
            placed += walk(&instance.running, Role::Place, &is_running);
        }
        let count = |wanted: &dyn Fn(&Slot) -> bool| self.calls.iter().filter(|(_, slot)| wanted(slot)).count();
        assert_eq!(pending, count(&|slot| matches!(slot.caller, Caller::Peer { .. })), "calls in their callers' lists");
        assert_eq!(placed, count(&|slot| !matches!(slot.stage, Stage::Watching(_))), "calls in the place they are in");
    }
}
