//! How calls end: answered, refused, cancelled, out of time, or with a peer that has left. Each call ends exactly once.

use ipc_protocol::{
    Cancel, ErrorCode, Retry, ServiceName, Violation,
    limits::MAX_DATAGRAM,
    wire::{Failure, Message, Reply},
};

use super::{
    accounts::Account,
    calls::{Caller, Stage},
    ids::{CallId, InstanceId, PeerId},
    item,
    moment::Moment,
    names::Ready,
    output::{Output, Outputs, Precedence},
    refusal::{Progress, Refusal},
    switchboard::Switchboard,
    watches,
};

impl<F> Switchboard<F> {
    /// A service has answered a call, with the id that the call was delivered with.
    pub(crate) fn answered(
        &mut self,
        now: Moment,
        from: PeerId,
        answer: Result<&mut Reply<F>, Failure<F>>,
        out: &mut impl Outputs<F>,
    ) {
        let number = match &answer {
            Ok(reply) => reply.id,
            Err(failure) => failure.id,
        };
        let running = CallId::from_bits(number).and_then(|call| Some((call, self.calls.get(call)?.runs_on()?)));
        let Some((call, instance)) = running.filter(|(_, on)| self.peer_of(*on) == Some(from)) else {
            return self.stray(from, out);
        };
        let caller = self.settle(call);
        let ready = self.vacate(call, instance);
        match &caller {
            Caller::Gone => self.post.counters.replies_late += 1,
            Caller::OneWay => {} // it has freed its place in the window, which is all
            Caller::Peer { .. } | Caller::Datagram(_) => self.pass_on(&caller, answer, out),
        }
        match ready {
            Ready::ForNext => self.feed(now, instance, out),
            Ready::ToGo => self.remove_if_idle(instance),
            Ready::ForNothing => {}
        }
    }

    /// A caller cancels a call, which may have ended already.
    pub(crate) fn cancel(&mut self, from: PeerId, id: u64, out: &mut impl Outputs<F>) {
        let found = self.post.peers.get(from).and_then(|peer| peer.pending.find(id));
        if let Some((caller, progress)) = found.and_then(|call| self.abandon(call, ErrorCode::CANCELLED, out)) {
            self.refuse(&caller, Refusal::Cancelled(progress), out);
        }
    }

    /// Sends a caller the reason why its call has ended.
    #[cold]
    pub(crate) fn refuse(&mut self, caller: &Caller, refusal: Refusal, out: &mut impl Outputs<F>) {
        if let Some(limit) = refusal.limit().filter(|_| self.subscriptions.has_own()) {
            let uid = match caller {
                Caller::Peer { peer, .. } => self.post.peers.get(*peer).map(|peer| peer.identity.uid),
                Caller::Datagram(to) => Some(to.0.uid()),
                Caller::OneWay | Caller::Gone => None,
            };
            self.alarms.raise(limit, uid);
        }
        self.pass_on_error(caller, refusal.into_failure(0), out);
    }

    /// Answers a pending call of the broker's own service, and ends it.
    pub(crate) fn finish(&mut self, call: CallId, message: impl FnOnce(u64) -> Message<F>, out: &mut impl Outputs<F>) {
        if let Some((caller, _)) = self.abandon(call, ErrorCode::CANCELLED, out) {
            self.send_to_caller(&caller, message, out);
        }
    }

    /// Removes an instance from its name. Calls that waited for it alone end, and its running calls continue. Returns the name if
    /// this was its last instance, so that waits for it to go can be answered.
    pub(crate) fn retire(&mut self, id: InstanceId, out: &mut impl Outputs<F>) -> Option<ServiceName> {
        let direct = self.calls.ids(&self.names.instance(id)?.direct);
        let name = self.names.retire(id);
        let queue = name.as_ref().map(|name| self.calls.ids(&name.queue)).unwrap_or_default();
        for call in queue.into_iter().chain(direct) {
            if let Some((caller, progress)) = self.abandon(call, ErrorCode::SERVICE_GONE, out) {
                self.refuse(&caller, Refusal::ServiceGone(progress), out);
            }
        }
        name.map(|name| name.name)
    }

    /// Removes a retired instance of a peer that unregistered it, once it has answered everything.
    pub(crate) fn remove_if_idle(&mut self, id: InstanceId) {
        let Some(instance) = self.names.instance(id) else { return };
        if !instance.is_done() {
            return;
        }
        if let Some(peer) = self.post.peers.get_mut(instance.peer) {
            peer.instances.retain(|other| *other != id);
        }
        self.remove_instance(id);
    }

    /// Sends a message with the caller's own number for the call, if there is a caller.
    pub(crate) fn send_to_caller(
        &mut self,
        caller: &Caller,
        message: impl FnOnce(u64) -> Message<F>,
        out: &mut impl Outputs<F>,
    ) {
        match caller {
            Caller::Peer { peer, id } => self.post.send(*peer, message(*id), out),
            Caller::Datagram(to) => {
                let (address, id) = &**to;
                let message = fit_datagram(*id, message(*id));
                let is_denial = matches!(&message, Message::Error(failure) if failure.code == ErrorCode::DENIED);
                let precedence = if is_denial { Precedence::Denial } else { Precedence::Answer };
                out.push(Output::SendDatagram { to: address.clone(), message, precedence });
            }
            Caller::OneWay | Caller::Gone => {}
        }
    }

    /// Ends a call early for its caller. An instance that runs it receives a cancel, and a queued call is dropped. Returns the caller
    /// that was waiting.
    pub(crate) fn abandon(
        &mut self,
        id: CallId,
        reason: ErrorCode,
        out: &mut impl Outputs<F>,
    ) -> Option<(Caller, Progress)> {
        let slot = self.calls.get(id)?;
        match &slot.stage {
            Stage::Running(instance) => {
                let instance = *instance;
                let caller = self.settle(id);
                if caller != Caller::Gone
                    && let Some(peer) = self.peer_of(instance)
                {
                    self.post.send(peer, Message::Cancel(Cancel { id: id.to_bits(), reason, delivered: None }), out);
                }
                return Some((caller, Progress::Delivered));
            }
            Stage::Watching(wait) => {
                self.watches.forget(id, wait);
                self.post.accounts.discharge(slot.payer, Account::bytes(watches::charge_of(wait)));
            }
            Stage::Locking(lock) => {
                let lock = *lock;
                self.leave_line(id, lock);
            }
            Stage::Queued(..) | Stage::Direct(..) | Stage::Unplaced => drop(self.dequeue(id)),
        }
        let caller = self.settle(id);
        self.close(id);
        Some((caller, Progress::NotDelivered))
    }

    /// Ends the running calls of an instance whose peer is gone.
    pub(crate) fn end_running(&mut self, instance: InstanceId, out: &mut impl Outputs<F>) {
        while let Some(id) = self.names.instance(instance).and_then(|instance| instance.running.head()) {
            let caller = self.settle(id);
            self.vacate(id, instance);
            if caller != Caller::Gone {
                self.refuse(&caller, Refusal::ServiceGone(Progress::Delivered), out);
            }
        }
        self.remove_instance(instance);
    }

    /// Passes a service's answer on to the caller.
    #[inline]
    fn pass_on(&mut self, caller: &Caller, answer: Result<&mut Reply<F>, Failure<F>>, out: &mut impl Outputs<F>) {
        match answer {
            Ok(reply) => {
                self.post.counters.replies += 1;
                let cost = item::ITEM + reply.body.len();
                let mut passed = |id| {
                    let body = std::mem::take(&mut reply.body);
                    Message::Reply(Reply { id, encoding: reply.encoding, body })
                };
                match caller {
                    Caller::Peer { peer, id } => self.post.send_made(*peer, cost, out, || passed(*id)),
                    _ => self.send_to_caller(caller, passed, out),
                }
            }
            Err(failure) => self.pass_on_error(caller, failure, out),
        }
    }

    #[inline(never)]
    fn pass_on_error(&mut self, caller: &Caller, failure: Failure<F>, out: &mut impl Outputs<F>) {
        self.post.counters.error(failure.code);
        self.send_to_caller(caller, |id| Message::Error(Failure { id, ..failure }), out);
    }

    /// Closes the slot of a call after its service's answer.
    fn vacate(&mut self, id: CallId, on: InstanceId) -> Ready {
        let ready = self.names.end(&mut self.calls, on, id);
        self.close(id);
        ready
    }

    fn remove_instance(&mut self, id: InstanceId) {
        let Some(instance) = self.names.remove(id) else { return };
        if let Some((account, _)) = self.post.payer(instance.peer) {
            self.post.accounts.discharge(account, Account::bytes(instance.charge));
        }
    }

    fn peer_of(&self, instance: InstanceId) -> Option<PeerId> {
        self.names.instance(instance).map(|instance| instance.peer)
    }

    /// A reply to a call that is not running at this peer. It is dropped and counted, and too many of them cut the peer.
    #[cold]
    fn stray(&mut self, from: PeerId, out: &mut impl Outputs<F>) {
        self.post.counters.replies_stray += 1;
        let Some(peer) = self.post.peers.get_mut(from) else { return };
        peer.strays += 1;
        let strays = peer.strays;
        if u64::from(strays) > self.post.limits.stray_replies {
            self.post.violate(from, &Violation::StrayReplies(strays), out);
        }
    }
}

/// Replaces an answer that is too long for a datagram by an error, which says that the call has run.
fn fit_datagram<F>(id: u64, answer: Message<F>) -> Message<F> {
    let len = answer.frame_len();
    if len <= MAX_DATAGRAM {
        return answer;
    }
    let text =
        format!("the answer has {len} bytes, a datagram carries at most {MAX_DATAGRAM}; call over the stream socket");
    Message::Error(Failure { retry: Retry::Unknown, ..Failure::new(id, ErrorCode::TOO_LARGE, text) })
}
