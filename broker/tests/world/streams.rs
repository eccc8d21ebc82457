//! Streams, naively: what each side of a call has sent and received, and what the other one has allowed.

use std::collections::{BTreeMap, VecDeque};

use ipc_protocol::{Body, Credit, Element, Encoding, End, ErrorCode, Failure, Message, wire};

use super::{
    Delivered, Peer, Ticket, Token, World,
    ledger::{Ended, Sender},
};

/// The streams of all calls that a frame of one was ever sent for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    flows: BTreeMap<Ticket, Flow>,
    /// The calls that services have received, by their numbers.
    delivered: BTreeMap<(Peer, u64), Ticket>,
}

/// The streams of a call.
#[derive(Clone, Debug, Default)]
struct Flow {
    request: Way,
    reply: Way,
    /// How the call must end, because a side has broken a rule.
    doom: Option<ErrorCode>,
}

/// One direction.
#[derive(Clone, Debug, Default)]
struct Way {
    exists: bool,
    items: u64,
    bytes: i128,
    ended: bool,
    /// Sent and not received.
    under_way: VecDeque<Sent>,
    /// Items received.
    arrived: u64,
    /// Items and bytes that the receiver has granted, and what its sender was told of them.
    granted: (u64, u128),
    told: (u64, u128),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Item(Vec<u8>),
    End(Option<ErrorCode>, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Caller,
    Service,
}

impl Flow {
    /// The direction in which a side sends.
    fn way(&mut self, from: Side) -> &mut Way {
        match from {
            Side::Caller => &mut self.request,
            Side::Service => &mut self.reply,
        }
    }

    fn other_way(&mut self, from: Side) -> &mut Way {
        match from {
            Side::Caller => &mut self.reply,
            Side::Service => &mut self.request,
        }
    }
}

impl Way {
    fn has_credit(&self) -> bool {
        self.exists && !self.ended && self.items > 0 && self.bytes > 0
    }
}

impl Streams {
    /// Notes that a service has received a call.
    pub(crate) fn deliver(&mut self, to: Peer, id: u64, ticket: Ticket) {
        self.delivered.insert((to, id), ticket);
    }
}

impl World {
    // ---- what tests do

    /// A caller sends an item.
    pub(crate) fn send_item(&mut self, call: Ticket, body: &[u8]) {
        self.send_as_caller(call, |id| item(id, false, body));
    }

    /// A caller ends its request.
    pub(crate) fn end_items(&mut self, call: Ticket, error: Option<ErrorCode>, text: &str) {
        self.send_as_caller(call, |id| Message::End(End { error, text: text.to_owned(), ..End::complete(id) }));
    }

    /// A caller allows items of the service.
    pub(crate) fn grant(&mut self, call: Ticket, items: u32, bytes: u64) {
        self.send_as_caller(call, |id| Message::Credit(Credit { id, delivered: false, items, bytes }));
    }

    /// A service sends an item.
    pub(crate) fn send_item_back(&mut self, call: &Delivered, body: &[u8]) {
        self.send(call.to, item(call.call.id, true, body));
    }

    /// A service sends the first `at` bytes of an item.
    pub(crate) fn send_item_back_cut(&mut self, call: &Delivered, body: &[u8], at: usize) {
        self.send_cut(call.to, &item(call.call.id, true, body), at);
    }

    /// A service allows items of the caller.
    pub(crate) fn grant_back(&mut self, call: &Delivered, items: u32, bytes: u64) {
        self.send(call.to, Message::Credit(Credit { id: call.call.id, delivered: true, items, bytes }));
    }

    fn send_as_caller(&mut self, call: Ticket, message: impl FnOnce(u64) -> Message) {
        let Sender::Peer(peer) = self.ledger.sender(call) else { panic!("datagrams have no streams") };
        self.send(peer, message(self.ledger.id(call)));
    }

    /// Takes all frames of streams out of a peer's inbox: items as their bodies, the end as `.`, credit as `+items/bytes`.
    pub(crate) fn take_stream(&mut self, peer: Peer) -> Vec<String> {
        let is_stream = |message: &Message| matches!(message, Message::Item(_) | Message::End(_) | Message::Credit(_));
        let inbox = &mut self.fakes[peer.0].inbox;
        let (taken, left): (VecDeque<_>, VecDeque<_>) = inbox.drain(..).partition(is_stream);
        *inbox = left;
        let show = |message: &Message| match message {
            Message::Item(item) => String::from_utf8_lossy(&item.body).into_owned(),
            Message::Credit(credit) => format!("+{}/{}", credit.items, credit.bytes),
            Message::End(End { error: Some(error), text, .. }) => format!(".{error}: {text}"),
            _ => ".".to_owned(),
        };
        taken.iter().map(show).collect()
    }

    /// Why a service received a cancel of a call, and how many of its items were delivered.
    #[track_caller]
    pub(crate) fn cancel_of(&self, call: &Delivered) -> (ErrorCode, Option<u64>) {
        let is_it = |message: &&Message| matches!(message, Message::Cancel(cancel) if cancel.id == call.call.id);
        match self.fakes[call.to.0].inbox.iter().find(is_it) {
            Some(Message::Cancel(cancel)) => (cancel.reason, cancel.delivered),
            _ => panic!("no cancel of {call:?}"),
        }
    }

    /// Whether a caller waits for a call with streams, and may send something.
    pub(crate) fn is_streaming(&self, call: Ticket) -> bool {
        let Sender::Peer(peer) = self.ledger.sender(call) else { return false };
        self.is_ready(peer) && self.ledger.request(call).streams.any()
    }

    /// Whether the caller of a call may send something, whether the call has streams or not.
    pub(crate) fn may_stream(&self, call: Ticket) -> bool {
        matches!(self.ledger.sender(call), Sender::Peer(peer) if self.is_ready(peer))
    }

    /// Whether the caller of a call has credit for an item.
    pub(crate) fn may_send_item(&self, call: Ticket) -> bool {
        self.model.streams.flows.get(&call).is_some_and(|flow| flow.request.has_credit())
    }

    /// Whether the service of a call has credit for an item, and the broker reads from it.
    pub(crate) fn may_send_item_back(&self, call: &Delivered) -> bool {
        let ticket = self.model.streams.delivered.get(&(call.to, call.call.id));
        let flow = ticket.and_then(|ticket| self.model.streams.flows.get(ticket));
        self.is_ready(call.to) && flow.is_some_and(|flow| flow.reply.has_credit())
    }

    // ---- what the model notes

    /// Notes what a peer sends, before the router sees it.
    pub(super) fn note_stream(&mut self, from: Peer, message: &wire::Message<Token>) {
        let (id, delivered) = match message {
            wire::Message::Item(item) => (item.id, item.delivered),
            wire::Message::End(end) => (end.id, false),
            wire::Message::Credit(credit) => (credit.id, credit.delivered),
            _ => return,
        };
        if self.fakes[from.0].ended && !matches!(message, wire::Message::Credit(_)) {
            return;
        }
        let Some((ticket, side)) = self.live(from, id, delivered) else { return };
        let limit = self.router.limits().body_bytes;
        let streams = self.ledger.request(ticket).streams;
        if streams.any() {
            let idle = self.router.limits().timeout(self.ledger.request(ticket).timeout_ms);
            self.ledger.put_off(ticket, self.now.after(idle));
        }
        let flow = self.model.streams.flows.entry(ticket).or_default();
        (flow.request.exists, flow.reply.exists) = (streams.request, streams.reply);
        match message {
            wire::Message::Item(item) => {
                let (len, way) = (item.body.len(), flow.way(side));
                let is_allowed = way.has_credit();
                if len as u64 > limit {
                    flow.doom = Some(ErrorCode::TOO_LARGE);
                } else if is_allowed {
                    way.items -= 1;
                    way.bytes -= len as i128;
                    way.under_way.push_back(Sent::Item(item.body.to_vec()));
                } else {
                    flow.doom = Some(ErrorCode::PROTOCOL);
                }
            }
            wire::Message::End(end) if flow.request.exists && !flow.request.ended => {
                flow.request.ended = true;
                flow.request.under_way.push_back(Sent::End(end.error, end.text.clone()));
            }
            wire::Message::End(_) => flow.doom = Some(ErrorCode::PROTOCOL),
            wire::Message::Credit(credit) => {
                let way = flow.other_way(side);
                way.items = (way.items + u64::from(credit.items)).min(u32::MAX.into());
                way.bytes = (way.bytes + i128::from(credit.bytes)).min(1 << 53);
                way.granted.0 += u64::from(credit.items);
                way.granted.1 += u128::from(credit.bytes);
            }
            _ => {}
        }
    }

    /// Notes that an item is skipped, because it is too long or no one waits for it.
    pub(super) fn note_skipped_item(&mut self, from: Peer, (id, delivered): (u64, bool)) {
        if !self.fakes[from.0].ended
            && let Some((ticket, _)) = self.live(from, id, delivered)
        {
            self.model.streams.flows.entry(ticket).or_default().doom = Some(ErrorCode::TOO_LARGE);
        }
    }

    /// The call that a frame is for, if its caller waits for it, and who sends the frame.
    fn live(&self, from: Peer, id: u64, delivered: bool) -> Option<(Ticket, Side)> {
        let (ticket, side) = match delivered {
            true => (self.fakes[from.0].owed_as(id)?, Side::Service),
            false => (self.ledger.find(Sender::Peer(from), id)?, Side::Caller),
        };
        (self.ledger.is_awaited(ticket) == Some(true)).then_some((ticket, side))
    }

    /// Checks a frame of a stream that the router sends: it is the next one that the other side has sent.
    pub(super) fn observe_stream(&mut self, to: Peer, message: &Message) {
        let (id, delivered) = match message {
            Message::Item(item) => (item.id, item.delivered),
            Message::End(end) => (end.id, true),
            Message::Credit(credit) => (credit.id, credit.delivered),
            _ => return,
        };
        let (ticket, from) = match delivered {
            true => (self.model.streams.delivered.get(&(to, id)).copied(), Side::Caller),
            false => (self.ledger.find(Sender::Peer(to), id), Side::Service),
        };
        let ticket = ticket.unwrap_or_else(|| panic!("{to:?} knows nothing of the call of {message:?}"));
        assert!(self.ledger.end_of(ticket).is_none(), "behind its end: {message:?}: {}", self.ledger.describe(ticket));
        let flow = self.model.streams.flows.get_mut(&ticket).expect("someone has sent it");
        let got = match message {
            Message::Item(item) => Sent::Item(item.body.to_vec()),
            Message::End(end) => Sent::End(end.error, end.text.clone()),
            Message::Credit(credit) => {
                let way = flow.other_way(from);
                way.told.0 += u64::from(credit.items);
                way.told.1 += u128::from(credit.bytes);
                return;
            }
            _ => return,
        };
        let way = flow.way(from);
        assert_eq!(
            way.under_way.pop_front().as_ref(),
            Some(&got),
            "not the next one: {}",
            self.ledger.describe(ticket)
        );
        way.arrived += u64::from(matches!(got, Sent::Item(_)));
    }

    /// Checks the number of delivered items that a service is told with a cancel.
    pub(super) fn check_cancelled_stream(&self, to: Peer, cancel: &ipc_protocol::Cancel) {
        let ticket = self.model.streams.delivered[&(to, cancel.id)];
        let arrived = self.model.streams.flows.get(&ticket).map_or(0, |flow| flow.reply.arrived);
        let told = self.ledger.request(ticket).streams.reply.then_some(arrived);
        assert_eq!(cancel.delivered, told, "items of the service of {}", self.ledger.describe(ticket));
    }

    /// Checks after a step that all that was sent has arrived, unless its call has ended.
    pub(super) fn assert_streams(&self) {
        for (ticket, flow) in &self.model.streams.flows {
            if self.ledger.is_awaited(*ticket) != Some(true) {
                continue;
            }
            let what = || format!("{flow:?}: {}", self.ledger.describe(*ticket));
            assert!(flow.doom.is_none(), "a rule was broken: {}", what());
            assert!(flow.reply.under_way.is_empty(), "not passed on to the caller: {}", what());
            if self.ledger.was_delivered(*ticket) {
                assert!(flow.request.under_way.is_empty(), "not passed on to the service: {}", what());
                // More than fits is told as what fits, if it comes before the call is delivered.
                let most = |(items, bytes): (u64, u128)| (items.min(u32::MAX.into()), bytes.min(1 << 53));
                let is_told = |way: &Way| !way.exists || most(way.granted) == most(way.told);
                assert!(is_told(&flow.request) && is_told(&flow.reply), "credit is not passed on: {}", what());
            }
        }
    }
}

impl Streams {
    /// Checks the end of a call that its service has not answered.
    pub(crate) fn check_end(&self, ended: &Ended<'_>, some_do_not_read: bool) {
        let Message::Error(Failure { code, delivered, .. }) = ended.message else { return };
        let flow = self.flows.get(&ended.ticket);
        let arrived = flow.map_or(0, |flow| flow.request.arrived);
        let told = (ended.delivered_to.is_some() && ended.request.streams.request).then_some(arrived);
        assert_eq!(*delivered, told, "items of the request of {:?}", ended.what);
        let doom = flow.and_then(|flow| flow.doom);
        if *code == ErrorCode::PROTOCOL {
            assert_eq!(doom, Some(*code), "no one broke a rule: {:?}", ended.what);
        }
        if *code == ErrorCode::BUSY && ended.delivered_to.is_some() {
            assert!(some_do_not_read && ended.request.streams.any(), "all read: {:?}", ended.what);
        }
    }
}

fn item(id: u64, delivered: bool, body: &[u8]) -> Message {
    let body: Body = body.to_vec().into();
    Message::Item(Element { id, delivered, encoding: Encoding::BYTES, body })
}
