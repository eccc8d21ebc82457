//! What must be true of the router's state after each step. Tests and fuzz targets check it; the broker itself never pays for it.

use super::{
    accounts::{Account, Accounts},
    calls::{Caller, Stage},
    router::Router,
};

impl Router {
    /// Checks that charges equal what is stored, and that every call stands in exactly the lists that its state says.
    ///
    /// # Panics
    /// On the first violation, with what it is.
    pub fn assert_invariants(&self) {
        self.assert_charges();
        self.assert_lists();
        for (id, name) in self.names.iter() {
            assert!(!name.instances.is_empty(), "name {id:?} has no instance");
            assert_eq!(
                self.names.find(name.name.as_str().as_bytes()),
                Some(id),
                "name {id:?} is not found under its name"
            );
        }
        for (id, instance) in self.names.instances() {
            let peer = self.peers.get(instance.peer).expect("an instance has a peer");
            assert!(peer.instances.contains(&id), "instance {id:?} is unknown to its peer");
            assert!(
                instance.window == 0 || instance.running.len() <= instance.window,
                "instance {id:?} is over its window"
            );
        }
    }

    fn assert_charges(&self) {
        let mut stored = Accounts::default();
        for (_, peer) in self.peers.iter() {
            stored.charge(peer.identity.uid, Account::connection());
            stored.charge(peer.identity.uid, Account::bytes(peer.unread + peer.assembling));
        }
        for (_, slot) in self.calls.iter() {
            if let Stage::Queued(_, waiting) | Stage::Direct(_, waiting) = &slot.stage {
                stored.charge(waiting.payer, Account::bytes(super::routing::charge_of(&waiting.call)));
            }
            if let Caller::Datagram { uid, .. } = slot.caller {
                stored.charge(uid, Account::datagram_call());
            }
        }
        assert_eq!(stored.total(), self.accounts.total(), "charges and stored things differ");
        for (_, peer) in self.peers.iter() {
            let uid = peer.identity.uid;
            assert_eq!(stored.of(uid), self.accounts.of(uid), "charges and stored things of user {uid} differ");
        }
    }

    fn assert_lists(&self) {
        let count =
            |wanted: &dyn Fn(&super::calls::Slot) -> bool| self.calls.iter().filter(|(_, slot)| wanted(slot)).count();
        for (id, peer) in self.peers.iter() {
            let of_peer = count(&|slot| matches!(slot.caller, Caller::Peer { peer, .. } if peer == id));
            assert_eq!(peer.pending.len() as usize, of_peer, "pending calls of {}", peer.number);
        }
        for (id, name) in self.names.iter() {
            let queued = count(&|slot| matches!(slot.stage, Stage::Queued(name, _) if name == id));
            assert_eq!(name.queue.len() as usize, queued, "queue of {}", name.name);
        }
        for (id, instance) in self.names.instances() {
            let running = count(&|slot| matches!(slot.stage, Stage::Running(on) if on == id));
            assert_eq!(instance.running.len() as usize, running, "running calls of instance {id:?}");
            let direct = count(&|slot| matches!(slot.stage, Stage::Direct(on, _) if on == id));
            assert_eq!(instance.direct.len() as usize, direct, "direct calls of instance {id:?}");
        }
        assert_eq!(count(&|slot| matches!(slot.stage, Stage::Unplaced)), 0, "a call is in no place");
    }
}
