//! Who offers which name. A plain list, searched from the start, to check the router's tables against.

use ipc_protocol::{Message, PeerNumber};

use super::{Peer, ledger::Asked};

/// All registrations, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    offers: Vec<Offer>,
    /// Peers that have taken a registration back. They may still owe calls from that time, which is not modelled.
    vague: Vec<Peer>,
}

#[derive(Clone, Debug)]
struct Offer {
    peer: Peer,
    number: u64,
    name: Option<String>,
    window: usize,
    shared: bool,
}

impl Directory {
    /// The service and method that the receiver of a call sees; `None` if no peer offers it.
    pub(crate) fn resolve(&self, service: &str, method: &str) -> Option<(String, String)> {
        if self.has(service) {
            return Some((service.to_owned(), method.to_owned()));
        }
        let (parent, label) = service.rsplit_once('.').filter(|_| method.is_empty())?;
        self.has(parent).then(|| (parent.to_owned(), label.to_owned()))
    }

    /// Whether a name or a peer's address can be called.
    pub(crate) fn has(&self, service: &str) -> bool {
        service == "ipc" || self.offers.iter().any(|offer| offer.is_called(service))
    }

    /// Whether a registration must be refused, because the name has an owner who does not share it with this one.
    pub(crate) fn is_taken(&self, asked: &Asked) -> bool {
        let Asked::Register { name: Some(name), shared, .. } = asked else { return false };
        self.offers.iter().any(|offer| offer.name.as_ref() == Some(name) && !(offer.shared && *shared))
    }

    /// Peers that offer a service and nothing else, with their windows.
    pub(crate) fn lone_offers(&self, service: &str) -> impl Iterator<Item = (Peer, usize)> {
        let offered = self.offers.iter().filter(move |offer| offer.is_called(service));
        let is_lone = |peer| self.offers.iter().filter(|other| other.peer == peer).count() == 1;
        let known = offered.filter(move |offer| is_lone(offer.peer) && !self.vague.contains(&offer.peer));
        known.map(|offer| (offer.peer, offer.window))
    }

    /// Whether a peer may receive calls to a service.
    pub(crate) fn offers(&self, peer: Peer, service: &str) -> bool {
        self.offers.iter().any(|offer| offer.peer == peer && offer.is_called(service))
    }

    /// The number of calls that a peer may have at once, if it is known.
    pub(crate) fn window(&self, peer: Peer) -> Option<usize> {
        let own = self.offers.iter().filter(|offer| offer.peer == peer).map(|offer| offer.window);
        (!self.vague.contains(&peer)).then(|| own.fold(0, usize::saturating_add))
    }

    /// Applies what a request changes, once the broker has answered it.
    pub(crate) fn note(&mut self, peer: Peer, asked: Asked, answer: &Message) {
        let Message::Reply(reply) = answer else { return };
        assert!(!self.is_taken(&asked), "{asked:?} is granted to {peer:?}, but held: {:?}", self.offers);
        match asked {
            Asked::Call
            | Asked::Subscribe { .. }
            | Asked::Unsubscribe { .. }
            | Asked::Lock { .. }
            | Asked::Unlock { .. } => {}
            Asked::Register { name, window, shared } => {
                let registered: ipc_protocol::control::Registered =
                    serde_json::from_slice(&reply.body).expect("the answer to a registration");
                let window = usize::try_from(window.max(1)).unwrap_or(usize::MAX);
                self.offers.push(Offer { peer, number: registered.peer.0, name, window, shared });
            }
            Asked::Unregister { name } => {
                let is_it = |offer: &Offer| offer.peer == peer && offer.name == name;
                let at = self.offers.iter().position(is_it).expect("only what is registered is taken back");
                self.offers.remove(at);
                self.vague.push(peer);
            }
        }
    }

    pub(crate) fn forget(&mut self, peer: Peer) {
        self.offers.retain(|offer| offer.peer != peer);
    }
}

impl Offer {
    fn is_called(&self, service: &str) -> bool {
        match PeerNumber::parse_address(service.as_bytes()) {
            Some(number) => self.number == number.0,
            None => self.name.as_deref() == Some(service),
        }
    }
}
