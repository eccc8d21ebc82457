//! Locks: a naive broker with a list of holders, and a list of those who wait, oldest first.

use ipc_protocol::{ErrorCode, Failure, Message};

use super::{
    Peer, Ticket, World,
    ledger::{Asked, Ended},
};

/// Who holds which lock, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    held: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    name: String,
    peer: Peer,
    places: u32,
}

impl Locks {
    /// Applies what a request changes, once the broker has answered it, and checks the answer.
    pub(crate) fn note(&mut self, peer: Peer, ended: &Ended<'_>) {
        match (&ended.request.asked, ended.message) {
            (Asked::Lock { name, places }, Message::Reply(_)) => {
                let holders: Vec<_> = self.of(name).collect();
                assert!(holders.len() < *places as usize, "{name} is given to {peer:?} beside {holders:?}");
                assert!(holders.iter().all(|held| held.peer != peer && held.places == *places), "{holders:?}");
                self.held.push(Held { name: name.clone(), peer, places: *places });
            }
            (Asked::Unlock { name }, Message::Reply(_)) => {
                let at = self.held.iter().position(|held| held.name == *name && held.peer == peer);
                self.held.remove(at.expect("only who holds a lock gives it back"));
            }
            (Asked::Unlock { name }, Message::Error(Failure { code: ErrorCode::NO_SERVICE, .. })) => {
                assert!(!self.holds(peer, name), "{peer:?} holds {name}");
            }
            _ => {}
        }
    }

    pub(crate) fn forget(&mut self, peer: Peer) {
        self.held.retain(|held| held.peer != peer);
    }

    pub(crate) fn holds(&self, peer: Peer, name: &str) -> bool {
        self.of(name).any(|held| held.peer == peer)
    }

    /// Whether a peer that asks for so many places could have one.
    fn has_place(&self, name: &str, places: u32) -> bool {
        self.of(name).count() < places as usize
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| held.name == name)
    }
}

impl World {
    /// Checks that a call waits for a lock that is not free, and that nobody who came later holds it.
    pub(super) fn assert_waits_for_lock(&self, ticket: Ticket) {
        let Asked::Lock { name, places } = &self.ledger.request(ticket).asked else {
            panic!("waits for no lock: {}", self.ledger.describe(ticket))
        };
        assert!(!self.locks.has_place(name, *places), "{name} is free: {}", self.ledger.describe(ticket));
    }

    /// Checks that nobody waits for a lock who came before the one that it was given to.
    pub(super) fn assert_first_in_line(&self, granted: Ticket, name: &str) {
        let is_older = |ticket: &Ticket| self.ledger.came_before(*ticket, granted);
        let waits = |ticket: &Ticket| matches!(&self.ledger.request(*ticket).asked, Asked::Lock { name: other, .. } if other == name);
        let passed = self.ledger.waiting().find(|ticket| is_older(ticket) && waits(ticket));
        assert!(passed.is_none(), "{granted:?} overtakes: {:?}", passed.map(|ticket| self.ledger.describe(ticket)));
    }
}
