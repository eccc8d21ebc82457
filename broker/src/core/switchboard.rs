//! The switchboard: where each call is, from its acceptance to the instance that handles it.

use ipc_protocol::wire::{Call, Message};
use serde::{Deserialize, Serialize};

use super::{
    accounts::Account,
    alarms::Alarms,
    calls::{Caller, Calls, Role, Stage},
    ids::{AccountId, CallId, InstanceId, NameId, PeerId, SubscriptionId},
    item,
    limits::Limits,
    locks::Locks,
    moment::Moment,
    names::{Instance, Names, Place},
    output::Outputs,
    peers::{Peers, Stage as PeerStage},
    post::Post,
    refusal::Refusal,
    retained::Retained,
    subscriptions::Subscriptions,
    uses::Uses,
    watches::Watches,
};

/// Names, calls and waits for names, on top of the post.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Switchboard<F> {
    pub(crate) post: Post,
    pub(crate) names: Names,
    pub(crate) calls: Calls<F>,
    pub(crate) watches: Watches,
    pub(crate) locks: Locks,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) retained: Retained<F>,
    /// The subscriptions of one event: memory that is used again.
    #[serde(skip)]
    pub(crate) found: Vec<SubscriptionId>,
    #[serde(skip)]
    pub(crate) uses: Uses,
    pub(crate) alarms: Alarms,
    /// Whether the broker is stopping, and accepts no new calls.
    pub(crate) draining: bool,
}

/// The origin of a call: who waits for the answer, and who is charged.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) caller: Caller,
    pub(crate) payer: AccountId,
    /// The peer that sent it, unless it came by datagram.
    pub(crate) peer: Option<PeerId>,
    /// When it arrived.
    pub(crate) came: Moment,
    /// When the call ends at the latest.
    pub(crate) deadline: Moment,
}

impl<F> Switchboard<F> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            post: Post::new(limits),
            names: Names::new(),
            calls: Calls::new(),
            watches: Watches::default(),
            locks: Locks::new(),
            subscriptions: Subscriptions::new(),
            retained: Retained::new(),
            found: Vec::new(),
            uses: Uses::default(),
            alarms: Alarms::default(),
            draining: false,
        }
    }

    /// Whether the tables have far more room than they use.
    pub(crate) fn is_roomy(&self) -> bool {
        self.post.peers.is_roomy()
            || self.calls.is_roomy()
            || self.names.is_roomy()
            || self.subscriptions.is_roomy()
            || self.locks.is_roomy()
    }

    /// Gives back memory that the tables do not use.
    pub(crate) fn give_back(&mut self) {
        self.post.peers.give_back();
        self.calls.give_back();
        self.names.give_back();
        self.subscriptions.give_back();
        self.locks.give_back();
        self.found = Vec::new();
    }

    /// Delivers an ordinary call at once, or queues it.
    pub(crate) fn place(
        &mut self,
        origin: Origin,
        call: &mut Call<F>,
        place: Place,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        self.has_place_for_caller(&origin)?;
        match self.free_instance(place)? {
            Some(instance) => {
                call.timeout_ms = left_until(origin.deadline, origin.came);
                self.post.charge_running(origin.payer, SLOT, out)?;
                let id = self.open(origin, Stage::Running(instance));
                self.deliver(id, instance, call, out);
                Ok(())
            }
            None => self.enqueue(place, origin, call.take()),
        }
    }

    /// Delivers the calls that wait for an instance, oldest first, as long as it has room.
    pub(crate) fn feed(&mut self, now: Moment, id: InstanceId, out: &mut impl Outputs<F>) {
        while let Some(next) = self.next_for(id) {
            let Some(mut call) = self.dequeue(next) else { return };
            let Some(slot) = self.calls.get_mut(next) else { return };
            slot.stage = Stage::Running(id);
            call.timeout_ms = left_until(slot.ends(), now);
            self.deliver(next, id, &mut call, out);
            if call.streams.any() {
                self.deliver_held(next, id, out);
            }
        }
    }

    /// Takes a call out of its queue and discharges it. Its slot stays, without a place.
    pub(crate) fn dequeue(&mut self, id: CallId) -> Option<Box<Call<F>>> {
        let slot = self.calls.get_mut(id)?;
        let payer = slot.payer;
        let (list, call) = match std::mem::replace(&mut slot.stage, Stage::Unplaced) {
            Stage::Queued(name, call) => (self.names.name_mut(name).map(|name| &mut name.queue), call),
            Stage::Direct(instance, call) => {
                (self.names.instance_mut(instance).map(|instance| &mut instance.direct), call)
            }
            other @ (Stage::Running(_) | Stage::Watching(_) | Stage::Locking(_) | Stage::Unplaced) => {
                slot.stage = other;
                return None;
            }
        };
        if let Some(list) = list {
            self.calls.unlink(list, Role::Place, id);
        }
        self.post.accounts.discharge_bytes(payer, charge_of(&call));
        Some(call)
    }

    /// Opens the slot of a queued call of `bytes`, unless its payer holds too much. It could as well wait at its caller.
    pub(crate) fn open_waiting(&mut self, origin: Origin, stage: Stage<F>, bytes: usize) -> Result<CallId, Refusal> {
        let waiting = match &origin.caller {
            Caller::Peer { peer, .. } => self.post.peers.get(*peer).map_or(0, |peer| peer.pending.len() as usize),
            Caller::Datagram(_) | Caller::OneWay | Caller::Gone => usize::MAX,
        };
        self.post.charge_or_refuse(origin.payer, SLOT + bytes, waiting)?;
        Ok(self.open(origin, stage))
    }

    /// Opens a slot, which is charged already, in the list of its caller.
    #[inline]
    fn open(&mut self, origin: Origin, stage: Stage<F>) -> CallId {
        let Origin { caller, payer, deadline, .. } = origin;
        let pending = match caller {
            Caller::Peer { peer, id } => Some((peer, id)),
            Caller::Datagram(_) | Caller::OneWay => {
                self.post.accounts.charge(payer, Account::loose_call());
                None
            }
            Caller::Gone => None,
        };
        let call = self.calls.open(caller, stage, deadline, payer);
        if let Some((peer, number)) = pending
            && let Some(peer) = self.post.peers.get_mut(peer)
        {
            peer.pending.push(number, call);
            self.post.peaks.per_caller = self.post.peaks.per_caller.max(peer.pending.len().into());
        }
        call
    }

    /// Detaches the caller from a call, and discharges what its wait costs. No caller waits for the answer any more.
    pub(crate) fn settle(&mut self, id: CallId) -> Caller {
        let caller = self.calls.take_caller(id);
        match caller {
            Caller::Peer { peer, id } => {
                if let Some(peer) = self.post.peers.get_mut(peer) {
                    peer.pending.remove(id);
                }
            }
            Caller::Datagram(_) | Caller::OneWay => {
                if let Some(slot) = self.calls.get(id) {
                    self.post.accounts.discharge(slot.payer, Account::loose_call());
                }
            }
            Caller::Gone => {} // was settled before
        }
        caller
    }

    /// Closes a slot that has left its lists.
    pub(crate) fn close(&mut self, id: CallId) {
        if let Some((payer, of_stream)) = self.calls.close(id) {
            self.post.accounts.discharge_bytes(payer, SLOT + of_stream);
        }
    }

    /// Refuses a call whose caller has too many pending calls.
    pub(crate) fn has_place_for_caller(&self, origin: &Origin) -> Result<(), Refusal> {
        let limit = self.post.limits.calls_per_caller;
        let pending = match &origin.caller {
            Caller::Peer { peer, .. } => self.post.peers.get(*peer).map_or(0, |peer| peer.pending.len().into()),
            Caller::Datagram(_) | Caller::OneWay => self.post.accounts.held(origin.payer).loose_calls,
            Caller::Gone => 0,
        };
        if pending >= limit { Err(Refusal::CallerBusy(limit)) } else { Ok(()) }
    }

    /// An instance that takes a call at once. `None` while older calls wait, because they come first.
    /// Refuses a call whose service has too many.
    fn free_instance(&mut self, place: Place) -> Result<Option<InstanceId>, Refusal> {
        let has_room = |instance: &Instance| has_room(&self.post.peers, &self.post.limits, instance);
        let (pending, free) = match place {
            Place::Name(id) => self.names.choose(id, has_room),
            Place::Instance(id) => self.names.instance(id).map_or((0, None), |instance| {
                let is_next = instance.direct.is_empty();
                let pending = instance.direct.len() + instance.running.len();
                (pending.into(), (is_next && has_room(instance)).then_some(id))
            }),
        };
        if pending >= self.post.limits.calls_per_service {
            return Err(self.too_many(place));
        }
        self.post.peaks.per_service = self.post.peaks.per_service.max(pending + 1);
        Ok(free)
    }

    #[cold]
    fn too_many(&self, place: Place) -> Refusal {
        let name = match place {
            Place::Name(id) => self.names.name(id).map(|name| name.name.to_string()),
            Place::Instance(_) => None,
        };
        Refusal::ServiceBusy(name.unwrap_or_else(|| "the peer".to_owned()), self.post.limits.calls_per_service)
    }

    /// The oldest call that waits for an instance, if it has room.
    fn next_for(&self, id: InstanceId) -> Option<CallId> {
        let instance = self.names.instance(id)?;
        let queue_of = |name: NameId| self.names.name(name).and_then(|name| name.queue.head());
        let (direct, queued) = (instance.direct.head(), instance.name.and_then(queue_of));
        if direct.is_none() && queued.is_none() || !has_room(&self.post.peers, &self.post.limits, instance) {
            return None;
        }
        let age = |call: &CallId| self.calls.get(*call).map_or(u64::MAX, |slot| slot.sequence);
        [direct, queued].into_iter().flatten().min_by_key(age)
    }

    fn enqueue(&mut self, place: Place, origin: Origin, mut call: Call<F>) -> Result<(), Refusal> {
        call.detach();
        let bytes = charge_of(&call);
        let stage = match place {
            Place::Name(name) => Stage::Queued(name, Box::new(call)),
            Place::Instance(instance) => Stage::Direct(instance, Box::new(call)),
        };
        let id = self.open_waiting(origin, stage, bytes)?;
        self.post.counters.calls_queued += 1;
        let queue = match place {
            Place::Name(name) => self.names.name_mut(name).map(|name| &mut name.queue),
            Place::Instance(instance) => self.names.instance_mut(instance).map(|instance| &mut instance.direct),
        };
        if let Some(queue) = queue {
            self.calls.push(queue, Role::Place, id);
        }
        Ok(())
    }

    /// Sends a call to the instance in its slot.
    #[inline]
    fn deliver(&mut self, id: CallId, on: InstanceId, call: &mut Call<F>, out: &mut impl Outputs<F>) {
        let Some(peer) = self.names.begin(&mut self.calls, on, id) else { return };
        self.post.counters.calls_delivered += 1;
        let cost = item::ITEM + call.caller.len() + call.routing.raw().len() + call.body.len();
        self.post.send_made(peer, cost, out, || Message::Call(Call { id: id.to_bits(), ..call.take() }));
    }
}

/// The time that a call has left when it is delivered, in milliseconds.
fn left_until(deadline: Moment, now: Moment) -> u32 {
    u32::try_from(deadline.ms_since(now)).unwrap_or(u32::MAX).max(1)
}

/// Whether an instance takes a call now: its window has room, and it reads what it receives.
pub(crate) fn has_room(peers: &Peers, limits: &Limits, instance: &Instance) -> bool {
    instance.running.len() < instance.window
        && peers
            .get(instance.peer)
            .is_some_and(|peer| peer.stage == PeerStage::Ready && (peer.unread as u64) < limits.unread_soft_bytes)
}

/// The bytes charged for the content of a waiting call, besides its slot.
pub(crate) fn charge_of<F>(call: &Call<F>) -> usize {
    const BOX: usize = 192;
    BOX + call.caller.len() + call.routing.raw().len() + call.body.len()
}

/// The bytes charged for the slot of a pending call.
pub(crate) const SLOT: usize = 160;

#[cfg(test)]
mod tests {
    use ipc_protocol::{Encoding, Identity, NoFd, Routing, ServiceName, Streams, control};

    use super::*;
    use crate::core::{accounts::Accounts, calls::Slot, output::Output, policy::Effect};

    fn board_with_service(window: u32) -> (Switchboard<NoFd>, NameId) {
        let mut board = Switchboard::new(Limits::default());
        let peer = board.post.admit(Moment(0), Identity::new(7, 7), Effect::Allow, &mut Vec::<Output<NoFd>>::new());
        board.post.peers.get_mut(peer).unwrap().stage = PeerStage::Ready;
        let name = ServiceName::parse("calc").unwrap();
        let request = control::Register {
            streams: false,
            name: Some(name.clone()),
            window,
            shared: false,
            methods: Vec::new(),
            description: None,
        };
        board.names.register(Some(&name), false, Instance::new(peer, request));
        let id = board.names.find(b"calc").unwrap();
        (board, id)
    }

    fn place(board: &mut Switchboard<NoFd>, name: NameId) -> Vec<Output<NoFd>> {
        let payer = board.post.open_account(8, Effect::Allow);
        let origin = Origin { caller: Caller::OneWay, payer, peer: None, came: Moment(0), deadline: Moment(5_000_000) };
        let mut call = Call {
            id: 1,
            one_way: true,
            streams: Streams::NONE,
            encoding: Encoding::BYTES,
            timeout_ms: 0,
            caller: bytes::Bytes::new(),
            routing: Routing::to("calc", "add").build(),
            body: "body".into(),
        };
        let mut out = Vec::new();
        board.place(origin, &mut call, Place::Name(name), &mut out).unwrap();
        out
    }

    #[test]
    fn a_call_waits_while_the_window_is_full_and_goes_out_when_it_is_not() {
        let (mut board, name) = board_with_service(1);
        assert!(matches!(place(&mut board, name)[..], [Output::Send { .. }]));
        assert!(place(&mut board, name).is_empty());
        assert_eq!(board.names.name(name).unwrap().pending(), 2);

        let instance = board.names.name(name).unwrap().instances().next().unwrap();
        let first = board.names.instance(instance).unwrap().running.head().unwrap();
        board.settle(first);
        board.names.end(&mut board.calls, instance, first);
        board.close(first);
        let mut out = Vec::new();
        board.feed(Moment(0), instance, &mut out);
        assert!(matches!(out[..], [Output::Send { .. }]));
    }

    #[test]
    fn a_slot_is_charged_at_least_what_it_takes() {
        assert!(size_of::<Option<Slot<NoFd>>>() + 8 <= SLOT, "{} bytes", size_of::<Slot<NoFd>>());
    }

    #[test]
    fn one_way_calls_are_limited_by_user() {
        let (mut board, name) = board_with_service(1);
        board.post.limits.calls_per_caller = 2;
        place(&mut board, name);
        place(&mut board, name);
        let payer = board.post.open_account(8, Effect::Allow);
        let origin = Origin { caller: Caller::OneWay, payer, peer: None, came: Moment(0), deadline: Moment(5_000_000) };
        assert_eq!(board.has_place_for_caller(&origin), Err(Refusal::CallerBusy(2)));
        assert_eq!(Accounts::of(&board.post.accounts, 8).loose_calls, 2);
    }
}
