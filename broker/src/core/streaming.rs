//! Streaming: what becomes of items, ends and credits. The broker keeps none of them once their call is delivered: it passes each on at
//! once, or ends the call.

use ipc_protocol::{
    Credit, End, ErrorCode,
    wire::{Call, Element, Failure, Message},
};

use super::{
    calls::{Caller, Slot},
    ids::{CallId, InstanceId, PeerId},
    item,
    moment::Moment,
    names::Place,
    output::Outputs,
    peers::Stage as PeerStage,
    refusal::{Progress, Refusal},
    streams::{Broken, Side, Stream, charge_of},
    switchboard::{Origin, Switchboard},
};

impl<F> Slot<F> {
    /// How far a delivered call has come.
    pub(crate) fn progress(&self) -> Progress {
        let items = self.stream.as_ref().and_then(|stream| stream.of_request());
        items.map_or(Progress::Delivered, Progress::Streaming)
    }
}

impl<F> Switchboard<F> {
    /// Delivers a call with streams at once, or queues it.
    pub(crate) fn place_streaming(
        &mut self,
        origin: Origin,
        call: &mut Call<F>,
        place: Place,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Caller::Peer { peer, id } = origin.caller else {
            return Err(Refusal::Invalid("a one-way call has no streams".to_owned()));
        };
        let takes_them = match place {
            Place::Name(id) => self.names.name(id).is_some_and(|name| name.streams),
            Place::Instance(id) => self.names.instance(id).is_some_and(|instance| instance.streams),
        };
        if !takes_them {
            let service = call.routing.service().escape_ascii();
            return Err(Refusal::Invalid(format!("'{service}' takes no streams")));
        }
        let stream = Box::new(Stream::new(call.streams, self.post.limits.timeout(call.timeout_ms)));
        let (payer, charge) = (origin.payer, stream.charge());
        self.post.charge_running(payer, charge, out)?;
        if let Err(refusal) = self.place(origin, call, place, out) {
            self.post.accounts.discharge_bytes(payer, charge);
            return Err(refusal);
        }
        let call = self.post.peers.get(peer).and_then(|peer| peer.pending.find(id));
        if let Some(slot) = call.and_then(|call| self.calls.get_mut(call)) {
            slot.stream = Some(stream);
        }
        Ok(())
    }

    /// An item of either side.
    #[inline(never)]
    pub(crate) fn item(&mut self, now: Moment, from: PeerId, sent: &mut Element<F>, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, sent.id, sent.delivered, out) else { return };
        let (len, limit) = (sent.body.len(), self.post.limits.body_bytes);
        if len as u64 > limit {
            return self.break_off(call, Broken::TooLong { len: len as u64, limit }, out);
        }
        let stream = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut());
        if !stream.is_some_and(|stream| stream.spend(now, side, len)) {
            return self.break_off(call, Broken::Item(side), out);
        }
        let Some((to, id, delivered)) = self.other_side(call, side) else { return };
        let item = Message::Item(Element { id, delivered, ..sent.take() });
        if !self.forward(call, (to, side.other()), item, out) {
            return;
        }
        self.post.counters.items += 1;
        if let Some(stream) = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut()) {
            stream.count(side);
        }
    }

    /// The header of an item whose body is over the limit, or that no one waits for. The rest of it is skipped.
    pub(crate) fn skip_item(
        &mut self,
        from: PeerId,
        (id, delivered): (u64, bool),
        len: u64,
        out: &mut impl Outputs<F>,
    ) {
        if let Some((call, _)) = self.find_stream(from, id, delivered, out) {
            let limit = self.post.limits.body_bytes;
            self.break_off(call, Broken::TooLong { len, limit }, out);
        }
    }

    /// The end of a request.
    #[inline(never)]
    pub(crate) fn end_request(&mut self, now: Moment, from: PeerId, end: &mut End, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, end.id, false, out) else { return };
        let Some(slot) = self.calls.get_mut(call) else { return };
        if !slot.stream.as_mut().is_some_and(|stream| stream.end(now)) {
            return self.break_off(call, Broken::End, out);
        }
        let text = std::mem::take(&mut end.text);
        let end = End { id: call.to_bits(), text, ..*end };
        match self.other_side(call, side) {
            Some((to, ..)) => _ = self.forward(call, (to, Side::Service), Message::End(end), out),
            None => self.hold(call, from, end, out),
        }
    }

    /// Credit of either side.
    #[inline(never)]
    pub(crate) fn credit(&mut self, now: Moment, from: PeerId, credit: Credit, out: &mut impl Outputs<F>) {
        let Some((call, side)) = self.find_stream(from, credit.id, credit.delivered, out) else { return };
        let Some(stream) = self.calls.get_mut(call).and_then(|slot| slot.stream.as_mut()) else {
            self.post.counters.stream_frames_late += 1;
            return;
        };
        stream.grant(now, side, credit);
        if let Some((to, id, delivered)) = self.other_side(call, side) {
            self.forward(call, (to, side.other()), Message::Credit(Credit { id, delivered, ..credit }), out);
        }
    }

    /// Sends what has come for a call with streams before it was delivered, just now.
    pub(crate) fn deliver_held(&mut self, call: CallId, on: InstanceId, out: &mut impl Outputs<F>) {
        let Some(to) = self.peer_of(on) else { return };
        let Some(slot) = self.calls.get_mut(call) else { return };
        let (payer, Some(stream)) = (slot.payer, slot.stream.as_mut()) else { return };
        let (granted, held) = stream.take_held();
        if let Some(end) = &held {
            self.post.accounts.discharge_bytes(payer, charge_of(end));
        }
        if let Some((items, bytes)) = granted {
            let credit = Message::Credit(Credit { id: call.to_bits(), delivered: true, items, bytes });
            if !self.forward(call, (to, Side::Service), credit, out) {
                return;
            }
        }
        if let Some(end) = held {
            self.forward(call, (to, Side::Service), Message::End(*end), out);
        }
    }

    /// Keeps the end of a request until its call is delivered.
    fn hold(&mut self, call: CallId, caller: PeerId, end: End, out: &mut impl Outputs<F>) {
        let waiting = self.post.peers.get(caller).map_or(0, |peer| peer.pending.len() as usize);
        let Some(slot) = self.calls.get_mut(call) else { return };
        match self.post.charge_or_refuse(slot.payer, charge_of(&end), waiting) {
            Ok(()) => {
                if let Some(stream) = &mut slot.stream {
                    stream.hold(end);
                }
            }
            Err(refusal) => {
                if let Some((caller, _)) = self.abandon(call, ErrorCode::BUSY, out) {
                    self.refuse(&caller, refusal, out);
                }
            }
        }
    }

    /// The call that a frame belongs to, and who has sent it. What belongs to none may have been on its way when its call ended: it is
    /// dropped and counted.
    fn find_stream(
        &mut self,
        from: PeerId,
        id: u64,
        delivered: bool,
        out: &mut impl Outputs<F>,
    ) -> Option<(CallId, Side)> {
        let found = match delivered {
            false => self.post.peers.get(from)?.pending.find(id).map(|call| (call, Side::Caller)),
            true => {
                let call = CallId::from_bits(id);
                let slot = call.and_then(|call| self.calls.get(call));
                let is_its_own = slot.map(|slot| slot.runs_on().and_then(|on| self.peer_of(on)) == Some(from));
                if call.is_none() || is_its_own == Some(false) {
                    self.stray(from, out); // it was never delivered to this peer
                    return None;
                }
                call.filter(|_| slot.is_some_and(|slot| slot.caller != Caller::Gone)).map(|call| (call, Side::Service))
            }
        };
        if found.is_none() {
            self.post.counters.stream_frames_late += 1;
        }
        found
    }

    /// The receiver of what a side sends, and its number for the call: `None` if the call is not delivered.
    fn other_side(&self, call: CallId, side: Side) -> Option<(PeerId, u64, bool)> {
        let slot = self.calls.get(call)?;
        match (side, &slot.caller) {
            (Side::Caller, _) => Some((self.peer_of(slot.runs_on()?)?, call.to_bits(), true)),
            (Side::Service, Caller::Peer { peer, id }) => Some((*peer, *id, false)),
            (Side::Service, Caller::Datagram(_) | Caller::OneWay | Caller::Gone) => None,
        }
    }

    /// Sends a frame to the other side, and says whether it could be. A receiver that does not read loses the call, not its connection.
    #[inline]
    fn forward(
        &mut self,
        call: CallId,
        (to, side): (PeerId, Side),
        message: Message<F>,
        out: &mut impl Outputs<F>,
    ) -> bool {
        let cost = item::cost(&message);
        let Some(peer) = self.post.peers.get(to).filter(|peer| peer.stage != PeerStage::Leaving) else { return false };
        if peer.backlog > 0 && (peer.unread + cost) as u64 > self.post.limits.unread_stream_bytes() {
            self.break_off(call, Broken::NotReading(side), out);
            return false;
        }
        self.post.send_made(to, cost, out, || message);
        self.post.peers.get(to).is_some_and(|peer| peer.stage != PeerStage::Leaving) // it may have been cut for a full quota
    }

    /// Ends a call because of its streams: its caller receives an error, its service a cancel.
    #[cold]
    fn break_off(&mut self, call: CallId, why: Broken, out: &mut impl Outputs<F>) {
        let Some((caller, progress)) = self.abandon(call, why.code(), out) else { return };
        let refusal = Refusal::Broken(why, progress);
        let Caller::Peer { peer, id } = caller else { return self.refuse(&caller, refusal, out) };
        let failure: Failure<F> = refusal.into_failure(id);
        self.post.counters.error(failure.code);
        self.post.send_last(peer, Message::Error(failure), out);
    }
}
