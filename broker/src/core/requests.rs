//! Requests: calls from peers and datagrams, until they are resolved, authorised and passed to the switchboard.

use ipc_protocol::{
    ErrorCode, FieldTag, Identity, Kind, RoutingError, ServiceName, Violation,
    control::{
        self,
        operation::{self, Operation as _},
    },
    wire::{Call, Event, Message},
};

use super::{
    answer,
    calls::Caller,
    datagrams::Datagram,
    event,
    ids::{NameId, PeerId},
    moment::Moment,
    names::Place,
    output::{Output, Outputs},
    peers::{Peer, Route, Stage},
    policy::{Effect, Operation, Request, Rule},
    refusal::{Progress, Refusal},
    router::{Arrival, Router},
    routing::{self, Destination},
    switchboard::Origin,
    turns::FRAME,
};

impl<F> Router<F> {
    /// A call of a peer.
    pub(super) fn take_call(
        &mut self,
        arrival: Arrival,
        call: &mut Call<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Violation> {
        let Arrival { from, began, now } = arrival;
        if !call.caller.is_empty() {
            return Err(RoutingError::Reserved(FieldTag::CALLER.0).into());
        }
        let Some(peer) = self.note_call(from, call.id)? else { return Ok(()) };
        let payer = peer.account;
        let id = call.id;
        let deadline = began.after_ms(self.board.post.limits.timeout_ms(call.timeout_ms));
        let caller = if call.one_way { Caller::OneWay } else { Caller::Peer { peer: from, id } };
        let origin = Origin { caller, payer, peer: Some(from), came: now, deadline };
        if let Err(refusal) = self.take_request(from, origin, call, out) {
            self.board.refuse(&Caller::Peer { peer: from, id }, refusal, out); // a one-way call, too: its sender learns that it did not arrive
        }
        Ok(())
    }

    /// A call to an impossible name. A user who may do nothing receives a denial instead.
    #[cold]
    pub(super) fn misnamed(&mut self, from: PeerId, id: u64, error: &RoutingError, out: &mut impl Outputs<F>) {
        self.refuse_unread(from, id, Refusal::Invalid(error.to_string()), out);
    }

    /// What a dialect can't read. It is refused here, so that the answer is charged and comes in its turn like any other.
    #[cold]
    pub(super) fn malformed(
        &mut self,
        from: PeerId,
        id: u64,
        (code, text): (ErrorCode, String),
        out: &mut impl Outputs<F>,
    ) {
        self.refuse_unread(from, id, Refusal::Malformed(code, text), out);
    }

    fn refuse_unread(&mut self, from: PeerId, id: u64, refusal: Refusal, out: &mut impl Outputs<F>) {
        self.board.post.work += FRAME;
        self.assembly.end(&mut self.board.post, from);
        let Some(peer) = self.board.post.peers.get(from) else { return };
        match peer.stage {
            Stage::Greeting => return self.board.post.violate(from, &Violation::NoHello(Kind::CALL), out),
            Stage::Leaving | Stage::Ended => return,
            Stage::Ready => {}
        }
        let identity = peer.identity.clone();
        if let Err(violation) = self.note_call(from, id) {
            return self.board.post.violate(from, &violation, out);
        }
        let request =
            Request { identity: &identity, operation: Operation::Call, service: b"", method: b"", topic: b"" };
        let refusal = match self.admit(&request, Some(from), out) {
            Ok(()) => refusal,
            Err(denied) => denied,
        };
        self.board.refuse(&Caller::Peer { peer: from, id }, refusal, out);
    }

    /// The fast path: the call goes where the peer's last one went, which the policy has allowed. A call with streams takes the long
    /// way, so that only that one knows of them.
    fn take_request(
        &mut self,
        from: PeerId,
        origin: Origin,
        call: &mut Call<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Some(peer) = self.board.post.peers.get(from) else { return Ok(()) };
        let known = peer
            .route
            .as_ref()
            .filter(|route| route.epoch == self.board.names.epoch() && route.section == *call.routing.raw())
            .filter(|_| !call.streams.any());
        let Some(route) = known else {
            if peer.denied && peer.effect == Effect::Deny {
                return Err(Refusal::Denied { uid: peer.identity.uid }); // it is logged already
            }
            let identity = peer.identity.clone();
            return self.route(&identity, origin, call, out);
        };
        let name = route.name;
        if let Some(split) = &route.split {
            call.routing = split.clone();
        }
        call.caller = peer.stamp.clone();
        self.check_call(&origin, call)?;
        self.board.place(origin, call, Place::Name(name), out)
    }

    /// Resolves a call, asks the policy, and passes the call on. A user who may do nothing is denied before anything else.
    #[inline(never)]
    fn route(
        &mut self,
        identity: &Identity,
        origin: Origin,
        call: &mut Call<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let section = call.routing.raw().clone();
        let (service, method) = (call.routing.service(), call.routing.method());
        let asked = Request { identity, operation: Operation::Call, service, method, topic: b"" };
        self.admit(&asked, origin.peer, out)?;
        let found = routing::resolve(&self.board.names, &self.board.post.peers, &mut call.routing);
        let service = routing::service_of(&self.board.names, &call.routing, found.as_ref().copied()).to_vec();
        let request = Request {
            identity,
            operation: Operation::Call,
            service: &service,
            method: call.routing.method(),
            topic: b"",
        };
        self.authorise(&request, origin.peer, out)?;
        let destination = found?;
        self.check_call(&origin, call)?;
        match destination {
            Destination::Broker => self.control(identity, origin, call, out),
            Destination::Place(place) => {
                if let (Some(from), Place::Name(name)) = (origin.peer, place) {
                    self.remember(from, &section, call, name);
                }
                call.caller = match origin.peer.and_then(|id| self.board.post.peers.get(id)) {
                    Some(peer) => peer.stamp.clone(),
                    None => identity.stamp(None),
                };
                match call.streams.any() {
                    true => self.board.place_streaming(origin, call, place, out),
                    false => self.board.place(origin, call, place, out),
                }
            }
        }
    }

    /// The checks for a call to any destination.
    fn check_call(&self, origin: &Origin, call: &Call<F>) -> Result<(), Refusal> {
        let limit = self.board.post.limits.body_bytes;
        if call.body.len() as u64 > limit {
            return Err(Refusal::TooLarge { len: call.body.len() as u64, limit });
        }
        if origin.deadline <= origin.came {
            return Err(Refusal::Deadline(Progress::NotDelivered));
        }
        if self.board.draining && call.routing.service() != control::SERVICE.as_bytes() {
            return Err(Refusal::Draining);
        }
        Ok(())
    }

    /// Keeps the route for the peer's next call with the same section, until a name appears or goes.
    fn remember(&mut self, from: PeerId, section: &bytes::Bytes, call: &Call<F>, name: NameId) {
        let epoch = self.board.names.epoch();
        let Some(peer) = self.board.post.peers.get_mut(from).filter(|_| section.len() <= REMEMBERED) else { return };
        let was_split = call.routing.raw() != section;
        let split = was_split.then(|| call.routing.detached());
        peer.route = Some(Route { section: bytes::Bytes::copy_from_slice(section), split, name, epoch });
    }

    /// The broker's own service.
    fn control(
        &mut self,
        identity: &Identity,
        origin: Origin,
        call: &Call<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        self.board.post.work += OPERATION * FRAME;
        if call.streams.any() {
            return Err(Refusal::Invalid("the broker's own service takes no streams".to_owned()));
        }
        if call.routing.method() == operation::Subscribe::NAME.as_bytes() {
            return self.subscribe(identity, &origin, answer::parse(call)?, out);
        }
        if call.routing.method() == operation::Lock::NAME.as_bytes() {
            let request: control::Lock = answer::parse(call)?;
            self.authorise_name(identity, (Operation::Lock, &request.name), origin.peer, out)?;
            return self.board.lock(origin, &request, out);
        }
        if call.routing.method() != operation::Register::NAME.as_bytes() {
            return self.board.control(origin, call, out);
        }
        let request: control::Register = answer::parse(call)?;
        if let Some(name) = &request.name {
            self.authorise_name(identity, (Operation::Own, name), origin.peer, out)?;
        }
        self.board.register(origin, request, out)
    }

    fn authorise_name(
        &mut self,
        identity: &Identity,
        (operation, name): (Operation, &ServiceName),
        peer: Option<PeerId>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let service = name.as_str().as_bytes();
        self.authorise(&Request { identity, operation, service, method: b"", topic: b"" }, peer, out)
    }

    // ---- the policy

    /// The denial of a long call of a user who may do nothing. It is not read.
    #[cold]
    pub(super) fn deny_unread(&mut self, from: PeerId, id: u64, out: &mut impl Outputs<F>) {
        let Some(identity) = self.board.post.peers.get(from).map(|peer| peer.identity.clone()) else { return };
        let request =
            Request { identity: &identity, operation: Operation::Call, service: b"", method: b"", topic: b"" };
        if let Err(denied) = self.admit(&request, Some(from), out) {
            self.board.refuse(&Caller::Peer { peer: from, id }, denied, out);
        }
    }

    /// Denies everything to a user who may do nothing.
    fn admit(&mut self, request: &Request<'_>, peer: Option<PeerId>, out: &mut impl Outputs<F>) -> Result<(), Refusal> {
        let verdict = self.policy.at_all(request.identity);
        match verdict.effect {
            Effect::Allow => Ok(()),
            Effect::Deny => Err(self.deny(request, verdict.by, peer, out)),
        }
    }

    /// The only place where an operation is authorised. Its target is resolved.
    pub(super) fn authorise(
        &mut self,
        request: &Request<'_>,
        peer: Option<PeerId>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let verdict = self.policy.verdict(request);
        match verdict.effect {
            Effect::Allow => Ok(()),
            Effect::Deny => Err(self.deny(request, verdict.by, peer, out)),
        }
    }

    /// Logs a denial, but only once for each connection.
    fn deny(&mut self, request: &Request<'_>, by: Rule, peer: Option<PeerId>, out: &mut impl Outputs<F>) -> Refusal {
        let mut peer = peer.and_then(|id| self.board.post.peers.get_mut(id));
        let was_told = peer.as_mut().is_some_and(|peer| std::mem::replace(&mut peer.denied, true));
        if !was_told {
            out.push(Output::Log(event::Event::denied(request, by, peer.map(|peer| peer.number))));
        }
        Refusal::Denied { uid: request.identity.uid }
    }

    /// A datagram has arrived. It must be a call, and either one-way or with a return address.
    #[inline(never)]
    pub(super) fn datagram(&mut self, now: Moment, datagram: Datagram<F>, out: &mut impl Outputs<F>) {
        let Datagram { sender, reply_to, message } = datagram;
        let counters = &mut self.board.post.counters;
        counters.datagrams += 1;
        let mut call = match message {
            Message::Call(call) => call,
            Message::Event(event) if event.one_way && event.publisher.is_empty() => {
                return self.event_datagram(now, &sender, event, out);
            }
            _ => {
                counters.datagrams_malformed += 1;
                return;
            }
        };
        let caller = match reply_to {
            _ if !call.caller.is_empty() || call.streams.any() => None,
            _ if call.one_way => Some(Caller::OneWay),
            Some(address) => Some(Caller::Datagram(Box::new((address, call.id)))),
            None => None, // there is nowhere to send the answer
        };
        let Some(caller) = caller else {
            counters.datagrams_malformed += 1;
            return;
        };
        let payer = self.board.post.open_account(sender.uid, self.policy.at_all(&sender).effect);
        let deadline = now.after_ms(self.board.post.limits.timeout_ms(call.timeout_ms));
        let origin = Origin { caller: caller.clone(), payer, peer: None, came: now, deadline };
        if let Err(refusal) = self.route(&sender, origin, &mut call, out) {
            self.board.post.counters.datagrams_refused += 1;
            self.board.refuse(&caller, refusal, out);
        }
        self.board.post.accounts.close_if_empty(payer);
    }

    /// An event that came by datagram: a refusal is counted, and not answered.
    fn event_datagram(&mut self, now: Moment, sender: &Identity, mut event: Event<F>, out: &mut impl Outputs<F>) {
        if event.routing.field(FieldTag::SEQUENCE).is_some() {
            self.board.post.counters.datagrams_malformed += 1;
            return;
        }
        let effect = self.policy.at_all(sender).effect;
        let payer = self.board.post.accounts.open(sender.uid, effect, &self.board.post.limits);
        if self.publish_datagram(now, (sender, payer), &mut event, out).is_err() {
            self.board.post.counters.datagrams_refused += 1;
        }
        self.board.post.accounts.close_if_empty(payer);
    }

    /// Counts a call, and checks its number. Returns the caller.
    #[inline]
    pub(super) fn note_call(&mut self, from: PeerId, id: u64) -> Result<Option<&Peer>, Violation> {
        self.board.post.counters.calls += 1;
        self.note_number(from, id)
    }

    /// Checks that the numbers of a peer's calls and events grow. Returns the peer.
    #[inline]
    pub(super) fn note_number(&mut self, from: PeerId, id: u64) -> Result<Option<&Peer>, Violation> {
        let Some(peer) = self.board.post.peers.get_mut(from) else { return Ok(None) };
        if id <= peer.last_call {
            return Err(Violation::IdNotGrowing { found: id, last: peer.last_call });
        }
        peer.last_call = id;
        Ok(Some(peer))
    }
}

/// The work of an operation, in frames: reading and writing its JSON takes about as long as routing this many.
const OPERATION: u64 = 16;
/// The longest routing section that a route is kept for.
const REMEMBERED: usize = 64;
