//! How calls end: answered, refused, cancelled, out of time, or with a peer that went away. Each call ends exactly once.

use ipc_protocol::{Cancel, ErrorCode, Failure, Goodbye, Message, Reply, Retry, Violation, limits::MAX_DATAGRAM};

use super::{
    accounts::Account,
    calls::{CallId, Caller, List, Role, Stage},
    event::{Event, Party},
    moment::Moment,
    names::InstanceId,
    peers::{PeerId, Stage as PeerStage},
    refusal::{Progress, Refusal},
    router::{Output, Outputs, Router},
    watches,
};

impl Router {
    /// A connection is closed. Its names are free before its callers hear of it, so that a retry finds the successor.
    pub fn disconnect(&mut self, peer_id: PeerId, out: &mut Outputs) {
        let Some(peer) = self.peers.get_mut(peer_id) else { return };
        peer.stage = PeerStage::Leaving; // nothing is sent to it from here on
        let instances = std::mem::take(&mut peer.instances);
        for instance in &instances {
            self.retire(*instance, out);
        }
        for instance in instances {
            self.end_running(instance, out);
        }
        while let Some(call) = self.peers.get(peer_id).and_then(|peer| peer.pending.head()) {
            self.abandon(call, ErrorCode::CANCELLED, out);
        }
        let Some(peer) = self.peers.remove(peer_id) else { return };
        out.push(Output::Log(Event::Closed(Party::new(Some(peer.number), &peer.identity))));
        self.accounts.discharge(peer.identity.uid, Account::connection());
        self.accounts.discharge(peer.identity.uid, Account::bytes(peer.unread + peer.assembling));
    }

    /// Ends what is out of time: calls past their deadline, connections without hello. At most a slice of them, so that a million
    /// deadlines in one millisecond stop nobody else; [`Router::next_deadline`] is then in the past.
    pub fn expire(&mut self, now: Moment, out: &mut Outputs) {
        for call in self.deadlines.expired(&self.calls, now, SLICE) {
            if let Some((caller, progress)) = self.abandon(call, ErrorCode::DEADLINE, out) {
                self.refuse(&caller, Refusal::Deadline(progress), out);
            }
        }
        for _ in 0..SLICE {
            let Some(peer) = self.peers.overdue(now) else { break };
            self.violate(peer, &Violation::TooSlow("hello", self.limits.hello_ms / 1000), out);
        }
    }

    /// The broker was told to stop: no new calls, nobody waits for names any more; calls that run may finish.
    pub fn drain(&mut self, out: &mut Outputs) {
        self.draining = true;
        let watching = self.calls.iter().filter(|(_, slot)| matches!(slot.stage, Stage::Watching(_)));
        for call in watching.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, _)) = self.abandon(call, ErrorCode::CANCELLED, out) {
                self.refuse(&caller, Refusal::Draining, out);
            }
        }
    }

    /// Whether all calls have ended for those who made them, and everybody has read how. Answers that are still owed and that nobody
    /// waits for do not count.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.calls.iter().all(|(_, slot)| slot.caller == Caller::Gone)
            && self.peers.iter().all(|(_, peer)| peer.unread == 0)
    }

    /// The broker stops for good: each pending call ends with `broker_lost`, each peer hears goodbye.
    pub fn stop(&mut self, out: &mut Outputs) {
        for call in self.calls.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some((caller, progress)) = self.abandon(call, ErrorCode::CANCELLED, out) {
                self.refuse(&caller, Refusal::BrokerLost(progress), out);
            }
        }
        let goodbye = Goodbye { code: ErrorCode::UNAVAILABLE, text: "the broker shuts down".to_owned() };
        for peer in self.peers.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            out.push(Output::Cut { peer, goodbye: goodbye.clone() });
        }
    }

    /// A service answered a call that was delivered to it, under the id that it was delivered with.
    pub(super) fn answered(&mut self, now: Moment, from: PeerId, answer: Result<Reply, Failure>, out: &mut Outputs) {
        let call = CallId::from_bits(match &answer {
            Ok(reply) => reply.id,
            Err(failure) => failure.id,
        });
        let Some(instance) = self.running_on(call).filter(|id| self.peer_of(*id) == Some(from)) else {
            return self.stray(from, out);
        };
        let caller = self.settle(call);
        self.vacate(call, instance);
        match caller {
            Caller::Gone => self.counters.replies_late += 1,
            Caller::OneWay => {} // it has freed its place in the window, which is all
            Caller::Peer { .. } | Caller::Datagram { .. } => self.pass_on(&caller, answer, out),
        }
        self.feed(now, instance, out);
    }

    /// A caller gave up a call. It may have ended in the meantime: then there is nothing to do.
    pub(super) fn cancel(&mut self, from: PeerId, id: u64, out: &mut Outputs) {
        let found = self.peers.get(from).and_then(|peer| self.calls.find(&peer.pending, id));
        if let Some((caller, progress)) = found.and_then(|call| self.abandon(call, ErrorCode::CANCELLED, out)) {
            self.refuse(&caller, Refusal::Cancelled(progress), out);
        }
    }

    /// Tells a caller that its call has ended, and why.
    pub(super) fn refuse(&mut self, caller: &Caller, refusal: Refusal, out: &mut Outputs) {
        let failure = refusal.into_failure(0);
        self.counters.error(failure.code);
        self.send_to_caller(caller, |id| Message::Error(Failure { id, ..failure }), out);
    }

    /// Answers a call of the broker's own service that is pending, and ends it.
    pub(super) fn finish(&mut self, call: CallId, message: impl FnOnce(u64) -> Message, out: &mut Outputs) {
        if let Some((caller, _)) = self.abandon(call, ErrorCode::CANCELLED, out) {
            self.send_to_caller(&caller, message, out);
        }
    }

    /// Takes an instance off its name. Calls that waited for it alone end; those that it works on go on.
    pub(super) fn retire(&mut self, id: InstanceId, out: &mut Outputs) {
        let Some(direct) = self.names.instance(id).map(|instance| instance.direct) else { return };
        let name = self.names.retire(id);
        let queue = name.as_ref().map(|name| name.queue).unwrap_or_default();
        self.end_queue(queue, out);
        self.end_queue(direct, out);
        if let Some(instance) = self.names.instance_mut(id) {
            instance.direct = List::default();
        }
        if let Some(name) = name {
            self.tell_watchers(&name.name, out);
        }
    }

    /// Removes a retired instance of a peer that unregistered it, once it has answered everything.
    pub(super) fn remove_if_idle(&mut self, id: InstanceId) {
        let Some(instance) = self.names.instance(id) else { return };
        if instance.window > 0 || !instance.running.is_empty() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(instance.peer) {
            peer.instances.retain(|other| *other != id);
        }
        self.remove_instance(id);
    }

    /// Sends a message under the caller's own number of the call, if there is a caller.
    pub(super) fn send_to_caller(&mut self, caller: &Caller, message: impl FnOnce(u64) -> Message, out: &mut Outputs) {
        match caller {
            Caller::Peer { peer, id } => self.send(*peer, message(*id), out),
            Caller::Datagram { address, id, .. } => {
                out.push(Output::SendDatagram { to: address.clone(), message: fit_datagram(*id, message(*id)) });
            }
            Caller::OneWay | Caller::Gone => {}
        }
    }

    /// Sends a service's answer to the one who waits for it.
    fn pass_on(&mut self, caller: &Caller, answer: Result<Reply, Failure>, out: &mut Outputs) {
        match answer {
            Ok(reply) => {
                self.counters.replies += 1;
                self.send_to_caller(caller, |id| Message::Reply(Reply { id, ..reply }), out);
            }
            Err(failure) => {
                self.counters.error(failure.code);
                self.send_to_caller(caller, |id| Message::Error(Failure { id, ..failure }), out);
            }
        }
    }

    /// Ends a call early, for its caller: whoever works on it is told, a call in a queue is forgotten. Returns the caller that was
    /// waiting; nobody waits any more.
    fn abandon(&mut self, id: CallId, reason: ErrorCode, out: &mut Outputs) -> Option<(Caller, Progress)> {
        let stage = &self.calls.get(id)?.stage;
        let progress = match stage {
            Stage::Running(instance) => {
                let instance = *instance;
                let caller = self.settle(id);
                if caller != Caller::Gone
                    && let Some(peer) = self.peer_of(instance)
                {
                    self.send(peer, Message::Cancel(Cancel { id: id.to_bits(), reason }), out);
                }
                return Some((caller, Progress::Delivered));
            }
            Stage::Watching(watching) => {
                self.watches.forget(id, &watching.wait);
                self.accounts.discharge(watching.payer, Account::bytes(watches::charge_of(&watching.wait)));
                Progress::NotDelivered
            }
            Stage::Queued(..) | Stage::Direct(..) | Stage::Unplaced => {
                self.dequeue(id);
                Progress::NotDelivered
            }
        };
        let caller = self.settle(id);
        self.calls.close(id);
        Some((caller, progress))
    }

    /// Takes the caller off a call: its list, its charge, the deadline. From here on nobody waits for the answer.
    fn settle(&mut self, id: CallId) -> Caller {
        let Some(slot) = self.calls.get_mut(id) else { return Caller::Gone };
        let deadline = slot.deadline;
        let caller = std::mem::replace(&mut slot.caller, Caller::Gone);
        match &caller {
            Caller::Gone => return caller, // was settled before
            Caller::OneWay => {}
            Caller::Peer { peer, .. } => {
                if let Some(peer) = self.peers.get_mut(*peer) {
                    self.calls.unlink(&mut peer.pending, Role::Caller, id);
                }
            }
            Caller::Datagram { uid, .. } => self.accounts.discharge(*uid, Account::datagram_call()),
        }
        self.deadlines.disarm(&mut self.calls, id, deadline);
        caller
    }

    /// Closes the slot of a call that its service has answered.
    fn vacate(&mut self, id: CallId, instance: InstanceId) {
        if let Some(instance) = self.names.instance_mut(instance) {
            self.calls.unlink(&mut instance.running, Role::Place, id);
        }
        self.calls.close(id);
        self.remove_if_idle(instance);
    }

    /// Ends the calls of a queue that nobody will serve any more: none of them has run.
    fn end_queue(&mut self, queue: List, out: &mut Outputs) {
        let mut at = queue.head();
        while let Some(id) = at {
            at = self.calls.next(Role::Place, id);
            if let Some((caller, progress)) = self.abandon(id, ErrorCode::SERVICE_GONE, out) {
                self.refuse(&caller, Refusal::ServiceGone(progress), out);
            }
        }
    }

    /// Ends the calls that an instance works on: its peer is gone.
    fn end_running(&mut self, instance: InstanceId, out: &mut Outputs) {
        while let Some(id) = self.names.instance(instance).and_then(|instance| instance.running.head()) {
            let caller = self.settle(id);
            self.vacate(id, instance);
            if caller != Caller::Gone {
                self.refuse(&caller, Refusal::ServiceGone(Progress::Delivered), out);
            }
        }
        self.remove_instance(instance);
    }

    fn remove_instance(&mut self, id: InstanceId) {
        let Some(instance) = self.names.remove(id) else { return };
        if let Some(peer) = self.peers.get(instance.peer) {
            self.accounts.discharge(peer.identity.uid, Account::bytes(instance.charge));
        }
    }

    fn running_on(&self, call: CallId) -> Option<InstanceId> {
        match self.calls.get(call)?.stage {
            Stage::Running(instance) => Some(instance),
            Stage::Queued(..) | Stage::Direct(..) | Stage::Watching(_) | Stage::Unplaced => None,
        }
    }

    fn peer_of(&self, instance: InstanceId) -> Option<PeerId> {
        self.names.instance(instance).map(|instance| instance.peer)
    }

    /// A reply to a call that is not with this peer: dropped and counted, and the peer is cut when it goes on.
    fn stray(&mut self, from: PeerId, out: &mut Outputs) {
        self.counters.replies_stray += 1;
        let Some(peer) = self.peers.get_mut(from) else { return };
        peer.strays += 1;
        let strays = peer.strays;
        if u64::from(strays) > self.limits.stray_replies {
            self.violate(from, &Violation::StrayReplies(strays), out);
        }
    }
}

/// An answer that no datagram can carry is replaced by an error: the call has run.
fn fit_datagram(id: u64, answer: Message) -> Message {
    let len = answer.frame_len();
    if len <= MAX_DATAGRAM {
        return answer;
    }
    let text =
        format!("the answer has {len} bytes, a datagram carries at most {MAX_DATAGRAM}; call over the stream socket");
    Message::Error(Failure { retry: Retry::Unknown, ..Failure::new(id, ErrorCode::TOO_LARGE, text) })
}

/// Deadlines handled in one go.
const SLICE: usize = 1024;
