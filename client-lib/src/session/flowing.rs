//! The session's part for calls with streams, its own and those that were delivered to it.

use ipc_protocol::{Credit, Element, Encoding, End, ErrorCode, Flags, Header, Kind, Message, Streams};

use super::{
    Effect, Payload, Serial, Session,
    flow::{self, Flow, Flowed},
    flows::Sending,
};
use crate::error::Error;

impl Session {
    /// Enters a call of this side's own whose frame was just queued, and allows its service the first items.
    pub(super) fn open_flow(&mut self, id: Serial, streams: Streams) {
        let Some(sender) = self.next_id() else { return };
        let flow = Flow::new(id.0, false, sender, flow::sends(streams, false));
        if streams.reply {
            self.push(Message::Credit(flow.first_credit()));
        }
        self.flows.by_id.insert(id, flow);
    }

    /// Enters a delivered call.
    pub(super) fn open_delivered_flow(&mut self, number: u64, streams: Streams) {
        let (Some(receiver), Some(sender)) = (self.next_id(), self.next_id()) else { return };
        let mut flow = Flow::new(number, true, sender, flow::sends(streams, true));
        if !streams.request {
            flow.end(End::complete(number)); // who takes items all the same has none to wait for
        }
        self.flows.by_id.insert(receiver, flow);
        self.flows.delivered.insert(number, receiver);
    }

    /// A delivered call with streams, by the broker's number.
    pub(crate) fn delivered_flow(&self, number: u64) -> Option<Serial> {
        self.flows.delivered.get(&number).copied()
    }

    /// Whether an item of a call was sent or has come.
    pub(crate) fn has_flowed(&self, id: Serial) -> bool {
        self.flows.by_id.get(&id).is_some_and(|flow| flow.has_flowed)
    }

    /// What the thread that sends is woken for.
    pub(crate) fn sender_of(&self, id: Serial) -> Serial {
        self.flows.by_id.get(&id).map_or(id, |flow| flow.sender)
    }

    /// Allows the caller of a delivered call the first items.
    pub(crate) fn welcome_items(&mut self, id: Serial) {
        if let Some(credit) = self.flows.by_id.get(&id).map(Flow::first_credit) {
            self.push(Message::Credit(credit));
        }
    }

    /// Shows the other side that this one is there.
    pub(crate) fn sign_of_life(&mut self, id: Serial) {
        if let Some(credit) = self.flows.by_id.get(&id).map(Flow::sign) {
            self.push(Message::Credit(credit));
        }
    }

    /// The next item that a stream brings, or how it has ended.
    pub(crate) fn take_item(&mut self, id: Serial) -> Option<Flowed> {
        let Some(flow) = self.flows.by_id.get_mut(&id) else {
            return Some(Flowed::End(Err(closed())));
        };
        let is_delivered = flow.delivered;
        let (flowed, credit) = flow.take();
        if let Some(credit) = credit {
            self.push(Message::Credit(credit));
        }
        if flowed.is_some() {
            return flowed;
        }
        if is_delivered {
            return self.loss().map(|loss| Flowed::End(Err(Error::new(loss.code, loss.text.clone()))));
        }
        self.slots.peek(id).map(|outcome| Flowed::End(outcome.as_ref().map(drop).map_err(Error::clone)))
    }

    /// Sends an item, if there is credit for it.
    pub(crate) fn send_item(&mut self, id: Serial, encoding: Encoding, body: Payload<'_>) -> Sending {
        let limit = self.max_body();
        let Some(body_len) = u32::try_from(body.len()).ok().filter(|len| *len <= limit) else {
            let text = format!("the item has {} bytes, the limit is {limit}", body.len());
            return Sending::Over(Error::new(ErrorCode::TOO_LARGE, text));
        };
        if let Some(error) = self.over(id) {
            return Sending::Over(error);
        }
        let Some(flow) = self.flows.by_id.get_mut(&id) else { return Sending::Over(closed()) };
        if !flow.spend(body.len()) {
            return Sending::NotAllowed;
        }
        let flags = if flow.delivered { Flags::DELIVERED } else { Flags::NONE };
        let header = Header { flags, encoding, body_len, ..Header::new(Kind::ITEM, flow.number) };
        self.transmit.push(&header, &[], body);
        Sending::Queued
    }

    /// Ends the items of a call of this side's own. Without effect if that was done, or the call is over.
    pub(crate) fn finish_items(&mut self, id: Serial, error: Option<(ErrorCode, &str)>) {
        if self.over(id).is_some() {
            return;
        }
        let Some(flow) = self.flows.by_id.get_mut(&id) else { return };
        if flow.finish() && !flow.delivered {
            let end = End { error: error.map(|(code, _)| code), ..End::complete(flow.number) };
            self.push(Message::End(End { text: error.map_or_else(String::new, |(_, text)| text.to_owned()), ..end }));
        }
    }

    /// Forgets the streams of a call: what still comes is ignored.
    pub(crate) fn close_flow(&mut self, id: Serial) {
        if let Some(flow) = self.flows.by_id.remove(&id) {
            self.flows.delivered.remove(&flow.number);
        }
    }

    pub(super) fn item_came(&mut self, item: Element) -> Effect {
        match self.flow_of(item.id, item.delivered) {
            Some((id, flow)) => {
                flow.arrive(item);
                Effect::Ended(id)
            }
            None => Effect::Nothing,
        }
    }

    pub(super) fn credit_came(&mut self, credit: Credit) -> Effect {
        match self.flow_of(credit.id, credit.delivered) {
            Some((_, flow)) => {
                flow.allow(credit);
                Effect::Ended(flow.sender)
            }
            None => Effect::Nothing,
        }
    }

    pub(super) fn end_came(&mut self, end: End) -> Effect {
        match self.flow_of(end.id, true) {
            Some((id, flow)) => {
                flow.end(end);
                Effect::Ended(id)
            }
            None => Effect::Nothing,
        }
    }

    pub(super) fn flow_cancelled(&mut self, number: u64, reason: ErrorCode, delivered: Option<u64>) -> Effect {
        match self.flow_of(number, true) {
            Some((id, flow)) => {
                flow.cancel(reason, delivered);
                Effect::BothEnded(id, flow.sender)
            }
            None => Effect::Nothing,
        }
    }

    /// A call has ended: if it has streams, both of its threads look at that.
    #[inline]
    pub(super) fn with_sender(&mut self, effect: Effect) -> Effect {
        match effect {
            Effect::Ended(id) if !self.flows.by_id.is_empty() => {
                let sender = self.note_end(id);
                if sender == id { effect } else { Effect::BothEnded(id, sender) }
            }
            _ => effect,
        }
    }

    /// Remembers for the sending half how a call has ended: its end may be taken before that half looks. Says what it is woken for.
    pub(super) fn note_end(&mut self, id: Serial) -> Serial {
        let Some(flow) = self.flows.by_id.get_mut(&id) else { return id };
        if let Some(outcome) = self.slots.peek(id) {
            let answered = || Error::new(ErrorCode::CANCELLED, "the service has answered and takes no more items");
            flow.stop(outcome.as_ref().err().cloned().unwrap_or_else(answered));
        }
        flow.sender
    }

    /// Why nothing more can be sent.
    fn over(&self, id: Serial) -> Option<Error> {
        let flow = self.flows.by_id.get(&id)?;
        flow.refusal().or_else(|| match self.loss() {
            Some(loss) => Some(Error::new(loss.code, loss.text.clone())),
            None => (!self.takes_more()).then(closed),
        })
    }

    fn flow_of(&mut self, number: u64, delivered: bool) -> Option<(Serial, &mut Flow)> {
        let id = if delivered { *self.flows.delivered.get(&number)? } else { Serial(number) };
        let flow = self.flows.by_id.get_mut(&id).filter(|flow| flow.delivered == delivered)?;
        Some((id, flow))
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::BROKER_LOST, "the call has ended")
}
