//! Routing: from a call to the instance that takes it, or to the queue in which it waits for one.

use ipc_protocol::{Call, Message, PeerNumber, Routing, control};

use super::{
    accounts::{Account, Full},
    calls::{CallId, Caller, Role, Stage, Waiting},
    limits::Use,
    moment::Moment,
    names::{Instance, InstanceId, NameId},
    peers::{Peers, Stage as PeerStage},
    policy::Verdict,
    refusal::Refusal,
    router::{Origin, Outputs, Router},
};

/// Where a target leads.
enum Destination {
    /// The broker's own service.
    Broker,
    /// Whichever instance of the name has room.
    Name(NameId),
    /// One peer.
    Instance(InstanceId),
}

impl Router {
    /// Delivers a call, queues it, or answers it if it is for the broker itself.
    pub(super) fn route(
        &mut self,
        now: Moment,
        mut origin: Origin,
        mut call: Call,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        if origin.verdict == Verdict::Denied {
            return Err(Refusal::Denied { uid: origin.uid });
        }
        let destination = self.resolve(&mut call.routing)?;
        if matches!(destination, Destination::Broker) {
            return self.control(now, origin, &call, out);
        }
        self.has_place_for_call(&origin, &destination)?;
        let deadline = now.after(self.limits.timeout(call.timeout_ms));
        call.caller = std::mem::take(&mut origin.stamp);
        match self.free_instance(&destination) {
            Some(instance) => {
                let id = self.open(origin.caller, Stage::Running(instance), deadline);
                self.deliver(now, id, call, out);
                Ok(())
            }
            None => self.enqueue(&destination, origin, call, deadline),
        }
    }

    /// Delivers what waits for an instance, oldest first, as long as it has room.
    pub(super) fn feed(&mut self, now: Moment, id: InstanceId, out: &mut Outputs) {
        while let Some(instance) =
            self.names.instance(id).filter(|instance| has_room(&self.peers, &self.limits, instance))
        {
            let direct = instance.direct.head();
            let queued = instance.name.and_then(|name| self.names.name(name)).and_then(|name| name.queue.head());
            let age = |call: CallId| self.calls.get(call).map_or(u64::MAX, |slot| slot.sequence);
            let Some(next) = [direct, queued].into_iter().flatten().min_by_key(|call| age(*call)) else { return };
            let Some(waiting) = self.dequeue(next) else { return };
            if let Some(slot) = self.calls.get_mut(next) {
                slot.stage = Stage::Running(id);
            }
            self.deliver(now, next, waiting.call, out);
        }
    }

    /// Takes a call out of the queue it waits in and gives its charge back. Its slot stays, in no place.
    pub(super) fn dequeue(&mut self, id: CallId) -> Option<Waiting> {
        let slot = self.calls.get_mut(id)?;
        let (list, waiting) = match std::mem::replace(&mut slot.stage, Stage::Unplaced) {
            Stage::Queued(name, waiting) => (self.names.name_mut(name).map(|name| &mut name.queue), waiting),
            Stage::Direct(instance, waiting) => {
                (self.names.instance_mut(instance).map(|instance| &mut instance.direct), waiting)
            }
            other @ (Stage::Running(_) | Stage::Watching(_) | Stage::Unplaced) => {
                slot.stage = other;
                return None;
            }
        };
        if let Some(list) = list {
            self.calls.unlink(list, Role::Place, id);
        }
        self.accounts.discharge(waiting.payer, Account::bytes(charge_of(&waiting.call)));
        Some(*waiting)
    }

    /// Opens a slot and puts it into the lists of its caller and of the deadlines.
    pub(super) fn open(&mut self, caller: Caller, stage: Stage, deadline: Moment) -> CallId {
        let payer = match &caller {
            Caller::Datagram { uid, .. } => Some(*uid),
            Caller::Peer { .. } | Caller::OneWay | Caller::Gone => None,
        };
        let peer = match &caller {
            Caller::Peer { peer, .. } => Some(*peer),
            Caller::Datagram { .. } | Caller::OneWay | Caller::Gone => None,
        };
        let id = self.calls.open(caller, stage, deadline);
        if let Some(peer) = peer.and_then(|peer| self.peers.get_mut(peer)) {
            self.calls.push(&mut peer.pending, Role::Caller, id);
        }
        if let Some(uid) = payer {
            self.accounts.charge(uid, Account::datagram_call());
        }
        self.deadlines.arm(&mut self.calls, id, deadline);
        id
    }

    /// Finds where a call goes; a dotted target is split into service and method here (docs/protocol.md, "Targets").
    fn resolve(&self, routing: &mut Routing) -> Result<Destination, Refusal> {
        let service = routing.service();
        if let Some(number) = PeerNumber::parse_address(service) {
            let peer = self.peers.by_number(number).and_then(|id| self.peers.get(id));
            let instance = peer.and_then(|peer| self.names.first_on_offer(&peer.instances));
            return instance.map(Destination::Instance).ok_or(Refusal::NoPeer(number));
        }
        if let Some(found) = self.find(service) {
            return Ok(found);
        }
        let unknown = || Refusal::NoService(service.escape_ascii().to_string());
        if !routing.method().is_empty() {
            return Err(unknown());
        }
        let text = str::from_utf8(service).map_err(|_| unknown())?;
        let (service, method) = text.rsplit_once('.').ok_or_else(unknown)?;
        let found = self.find(service.as_bytes()).ok_or_else(unknown)?;
        *routing = routing.retarget(service, method);
        Ok(found)
    }

    fn find(&self, service: &[u8]) -> Option<Destination> {
        if service == control::SERVICE.as_bytes() {
            return Some(Destination::Broker);
        }
        self.names.find(service).map(Destination::Name)
    }

    /// Refuses a call when its caller or its service has too many.
    fn has_place_for_call(&self, origin: &Origin, destination: &Destination) -> Result<(), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        self.has_place_for_caller(origin)?;
        let limit = self.limits.calls_per_service;
        let (pending, name) = match destination {
            Destination::Broker => return Ok(()),
            Destination::Name(id) => (self.names.pending(*id), self.names.name(*id).map(|name| &name.name)),
            Destination::Instance(id) => {
                let count = |instance: &Instance| instance.direct.len() + instance.running.len();
                (self.names.instance(*id).map_or(0, count).into(), None)
            }
        };
        if pending >= limit {
            let name = name.map_or_else(|| "the peer".to_owned(), ToString::to_string);
            return Err(Refusal::ServiceBusy(name, limit));
        }
        Ok(())
    }

    /// Refuses a call when its caller waits for too many.
    pub(super) fn has_place_for_caller(&self, origin: &Origin) -> Result<(), Refusal> {
        let limit = self.limits.calls_per_caller;
        let pending = match &origin.caller {
            Caller::Peer { peer, .. } => self.peers.get(*peer).map_or(0, |peer| peer.pending.len().into()),
            Caller::Datagram { uid, .. } => self.accounts.of(*uid).datagram_calls,
            Caller::OneWay | Caller::Gone => 0,
        };
        if pending >= limit { Err(Refusal::CallerBusy(limit)) } else { Ok(()) }
    }

    /// An instance that takes a call at once. None while older calls wait: they are served first.
    fn free_instance(&mut self, destination: &Destination) -> Option<InstanceId> {
        let (peers, limits) = (&self.peers, &self.limits);
        match *destination {
            Destination::Broker => None,
            Destination::Name(id) if !self.names.name(id)?.queue.is_empty() => None,
            Destination::Name(id) => self.names.choose(id, |instance| has_room(peers, limits, instance)),
            Destination::Instance(id) => {
                let instance = self.names.instance(id)?;
                (instance.direct.is_empty() && has_room(peers, limits, instance)).then_some(id)
            }
        }
    }

    fn enqueue(
        &mut self,
        destination: &Destination,
        origin: Origin,
        mut call: Call,
        deadline: Moment,
    ) -> Result<(), Refusal> {
        let (bytes, payer) = (charge_of(&call), origin.uid);
        self.charge_waiting(payer, bytes)?;
        self.counters.calls_queued += 1;
        call.detach();
        let waiting = Box::new(Waiting { call, payer });
        let stage = match *destination {
            Destination::Name(name) => Stage::Queued(name, waiting),
            Destination::Instance(instance) => Stage::Direct(instance, waiting),
            Destination::Broker => return Ok(()),
        };
        let id = self.open(origin.caller, stage, deadline);
        match *destination {
            Destination::Name(name) => {
                if let Some(name) = self.names.name_mut(name) {
                    self.calls.push(&mut name.queue, Role::Place, id);
                }
            }
            Destination::Instance(instance) => {
                if let Some(instance) = self.names.instance_mut(instance) {
                    self.calls.push(&mut instance.direct, Role::Place, id);
                }
            }
            Destination::Broker => {}
        }
        Ok(())
    }

    /// Charges bytes of what waits or stays, or refuses.
    pub(super) fn charge_waiting(&mut self, payer: u32, bytes: usize) -> Result<(), Refusal> {
        self.accounts.charge_bytes(payer, bytes, (Use::Waiting, &self.limits)).map_err(|full| match full {
            Full::User => Refusal::UserBusy(Use::Waiting.part_of(self.limits.bytes_per_uid)),
            Full::Broker => Refusal::BrokerBusy(Use::Waiting.part_of(self.limits.bytes_total)),
        })
    }

    /// Sends a call to the instance that its slot says it runs on.
    fn deliver(&mut self, now: Moment, id: CallId, call: Call, out: &mut Outputs) {
        let Some(slot) = self.calls.get(id) else { return };
        let Stage::Running(instance) = slot.stage else { return };
        let left = slot.deadline.since(now).as_millis();
        let Some(instance) = self.names.instance_mut(instance) else { return };
        self.calls.push(&mut instance.running, Role::Place, id);
        let (peer, name) = (instance.peer, instance.name);
        if let Some(name) = name.and_then(|name| self.names.name_mut(name)) {
            name.delivered += 1;
        }
        self.counters.calls_delivered += 1;
        let timeout_ms = u32::try_from(left).unwrap_or(u32::MAX).max(1);
        self.send(peer, Message::Call(Call { id: id.to_bits(), timeout_ms, ..call }), out);
    }
}

/// Whether an instance takes a call now: its window has room and it reads what it is sent.
pub(super) fn has_room(peers: &Peers, limits: &super::limits::Limits, instance: &Instance) -> bool {
    instance.running.len() < instance.window
        && peers
            .get(instance.peer)
            .is_some_and(|peer| peer.stage == PeerStage::Ready && (peer.unread as u64) < limits.unread_soft_bytes)
}

/// Bytes that a waiting call is charged: what it holds, and its slot.
pub(super) fn charge_of(call: &Call) -> usize {
    const SLOT: usize = 256;
    SLOT + call.routing.raw().len() + call.body.len()
}
