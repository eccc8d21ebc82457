//! The ledger: every call that was made, where it went, and how it ended. Panics on the first entry that breaks a promise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use ipc_protocol::{Call, ErrorCode, FieldTag, Message, Retry};
use ipcd::core::Moment;

use super::{OWNER, Peer, Request, directory::Directory};

/// A call in the ledger. Of half of the peers it travels in the call's `TRACE` field, which identifies the call where it is delivered.
/// The others send the same section again and again, as most callers do: the order of their calls identifies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(usize);

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sender {
    Peer(Peer),
    /// All senders of datagrams, which share one sequence of numbers.
    Datagram,
}

/// What a call asks for, as far as the ledger has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Call,
    Register { name: Option<String>, window: u32, shared: bool },
    Unregister { name: Option<String> },
    Subscribe { pattern: String, last: bool },
    Unsubscribe { number: u64 },
    Lock { name: String, places: u32 },
    Unlock { name: String },
}

/// A call on its way to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    /// The caller by its stamp.
    pub(crate) from: Sender,
    pub(crate) to: Peer,
    /// The number of the peer `to`.
    pub(crate) number: u64,
    pub(crate) call: &'a Call,
    pub(crate) now: Moment,
}

/// A call that ends, as the ledger knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) ticket: Ticket,
    /// What its caller is told.
    pub(crate) message: &'a Message,
    pub(crate) request: &'a Request,
    /// The caller's user.
    pub(crate) uid: u32,
    pub(crate) is_datagram: bool,
    pub(crate) delivered_to: Option<Peer>,
    pub(crate) is_answered: bool,
    pub(crate) is_cancelled: bool,
    /// All of it, for a message.
    pub(crate) what: &'a dyn Debug,
}

#[derive(Clone, Debug)]
struct Entry {
    sender: Sender,
    id: u64,
    uid: u32,
    request: Request,
    /// The service and method that its receiver must see.
    goes_to: Option<(String, String)>,
    deadline: Moment,
    delivered: Option<Peer>,
    /// Whether all of it has reached the broker.
    arrived: bool,
    /// Its place among the calls that the router has seen.
    routed: Option<u64>,
    /// Whether its service has sent an answer.
    answered: bool,
    /// Whether its caller has sent a cancel.
    cancelled: bool,
    ended: Option<Message>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    by_id: BTreeMap<(Sender, u64), Ticket>,
    /// Calls that have not ended and whose caller is connected.
    open: BTreeSet<Ticket>,
    /// Those of them that want an answer and were not delivered.
    waiting: BTreeSet<Ticket>,
    /// The last call of each sender that was delivered to a service, by the service's name.
    last: BTreeMap<(Sender, String), u64>,
    /// Calls that the router has seen.
    routed: u64,
}

impl Ledger {
    pub(crate) fn open(&mut self, (sender, id, uid): (Sender, u64, u32), request: Request, deadline: Moment) -> Ticket {
        let ticket = Ticket(self.entries.len());
        self.by_id.insert((sender, id), ticket);
        self.open.insert(ticket);
        if !request.one_way {
            self.waiting.insert(ticket);
        }
        let entry = Entry {
            sender,
            id,
            uid,
            request,
            goes_to: None,
            deadline,
            delivered: None,
            arrived: true,
            routed: None,
            answered: false,
            cancelled: false,
            ended: None,
        };
        self.entries.push(entry);
        ticket
    }

    /// The content of the next call's `TRACE` field, unless its sender does without.
    pub(crate) fn next_mark(&self, sender: Sender) -> Option<String> {
        let is_marked = !matches!(sender, Sender::Peer(Peer(number)) if number % 2 == 1);
        is_marked.then(|| self.entries.len().to_string())
    }

    /// Notes where a call has to go, given the present registrations.
    pub(crate) fn aim(&mut self, ticket: Ticket, directory: &Directory) {
        let entry = &mut self.entries[ticket.0];
        entry.goes_to = directory.resolve(&entry.request.service, &entry.request.method);
    }

    /// Notes that a call is sent in pieces: the broker cannot end it before it has seen the last one.
    pub(crate) fn depart(&mut self, ticket: Ticket) {
        self.entries[ticket.0].arrived = false;
    }

    /// Notes that the last piece of a call is sent.
    pub(crate) fn arrive(&mut self, ticket: Ticket) {
        self.entries[ticket.0].arrived = true;
    }

    /// Notes that the calls of a sender that the router has not seen wait until it reads.
    pub(crate) fn hold_back(&mut self, sender: Sender) {
        let entries = &mut self.entries;
        let waiting =
            self.open.iter().filter(|ticket| entries[ticket.0].sender == sender && entries[ticket.0].routed.is_none());
        waiting.copied().collect::<Vec<_>>().into_iter().for_each(|ticket| entries[ticket.0].arrived = false);
    }

    /// Notes that the router sees a call. The time of one that was held back begins now, unless a part of it was there before.
    pub(crate) fn route(&mut self, sender: Sender, id: u64, began: impl FnOnce(u32) -> Moment, directory: &Directory) {
        let Some(ticket) = self.by_id.get(&(sender, id)).copied() else { return };
        let entry = &mut self.entries[ticket.0];
        self.routed += 1;
        entry.routed = Some(self.routed);
        if !std::mem::replace(&mut entry.arrived, true) {
            entry.deadline = entry.deadline.max(began(entry.request.timeout_ms));
            self.aim(ticket, directory);
        }
    }

    /// Checks a delivery: it is the call's first, to a peer that offers its service, in order, and with the time that is left.
    pub(crate) fn delivered(&mut self, arrival: &Arrival<'_>, directory: &Directory) -> Ticket {
        let routing = &arrival.call.routing;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("names are ASCII");
        let mark = routing.field(FieldTag::TRACE).map(text).map(|mark| mark.parse().expect("a number"));
        let ticket = mark.map_or_else(|| self.oldest(arrival), Ticket);
        let entry = &mut self.entries[ticket.0];
        assert!(entry.delivered.is_none(), "delivered twice: {entry:?}");
        assert!(entry.ended.is_none(), "delivered after its end: {entry:?}");
        assert!([0, OWNER].contains(&entry.uid), "a stranger's call is delivered: {entry:?}");
        entry.delivered = Some(arrival.to);
        self.waiting.remove(&ticket);
        let (service, method) = (text(routing.service()), text(routing.method()));
        assert_eq!(Some((service.clone(), method)), entry.goes_to, "the target of {entry:?}");
        assert!(directory.offers(arrival.to, &service), "delivered to a peer that does not offer {service}: {entry:?}");
        let own = format!("@{}", arrival.number);
        assert!(!service.starts_with('@') || service == own, "{service} is delivered to {own}");
        entry.check_content(arrival);
        let last = self.last.insert((entry.sender, service), entry.id);
        let is_stream = entry.sender != Sender::Datagram;
        assert!(!is_stream || last < Some(entry.id), "call {} is delivered after {last:?}: {entry:?}", entry.id);
        ticket
    }

    /// The oldest call without a mark that this can be. Its caller may have been cut because of it, just before it is delivered.
    fn oldest(&self, arrival: &Arrival<'_>) -> Ticket {
        let Call { one_way, routing, body, .. } = arrival.call;
        let is_it = |entry: &Entry| {
            let is_due = entry.delivered.is_none() && entry.ended.is_none() && entry.deadline > arrival.now;
            let to = entry.goes_to.as_ref().map(|(service, method)| (service.as_bytes(), method.as_bytes()));
            let is_same = entry.request.one_way == *one_way && *body == entry.request.body[..];
            is_due && is_same && entry.arrived && to == Some((routing.service(), routing.method()))
        };
        let mut of_caller = self.by_id.range((arrival.from, 0)..=(arrival.from, u64::MAX)).map(|(_, ticket)| *ticket);
        let found = of_caller.find(|ticket| is_it(&self.entries[ticket.0]));
        found.unwrap_or_else(|| panic!("no such call is due: {arrival:?}"))
    }

    /// Checks a reply or an error to a caller: it is the call's first, and it is true.
    pub(crate) fn ended<'a>(&'a mut self, sender: Sender, message: &'a Message, now: Moment) -> Ended<'a> {
        let id = match message {
            Message::Reply(reply) => reply.id,
            Message::Error(failure) => failure.id,
            other => panic!("{other:?} cannot end a call"),
        };
        let ticket = *self.by_id.get(&(sender, id)).unwrap_or_else(|| panic!("no such call was made: {message:?}"));
        let entry = &mut self.entries[ticket.0];
        assert!(entry.ended.is_none(), "{message:?} is a second end of {entry:?}");
        assert!(self.open.remove(&ticket), "{message:?} goes to a caller that has gone: {entry:?}");
        entry.check_end(message, now);
        entry.ended = Some(message.clone());
        self.waiting.remove(&ticket);
        Ended {
            ticket,
            message,
            request: &entry.request,
            uid: entry.uid,
            is_datagram: sender == Sender::Datagram,
            delivered_to: entry.delivered,
            is_answered: entry.answered,
            is_cancelled: entry.cancelled,
            what: entry,
        }
    }

    /// Notes that the service of a call has sent an answer.
    pub(crate) fn answered(&mut self, ticket: Ticket) {
        self.entries[ticket.0].answered = true;
    }

    /// Notes that a caller wants no answer any more.
    pub(crate) fn cancelled(&mut self, ticket: Ticket) {
        self.entries[ticket.0].cancelled = true;
    }

    /// Notes that a caller has gone, and receives no answers any more.
    pub(crate) fn withdraw(&mut self, peer: Peer) {
        for (_, ticket) in self.by_id.range((Sender::Peer(peer), 0)..=(Sender::Peer(peer), u64::MAX)) {
            self.open.remove(ticket);
            self.waiting.remove(ticket);
        }
    }

    /// Notes that a datagram was dropped.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        assert_eq!(self.entries[ticket.0].sender, Sender::Datagram);
        self.open.remove(&ticket);
        self.waiting.remove(&ticket);
    }

    /// Whether a caller waits for the answer; `None` for a one-way call, where the service cannot know.
    pub(crate) fn is_awaited(&self, ticket: Ticket) -> Option<bool> {
        (!self.entries[ticket.0].request.one_way).then(|| self.open.contains(&ticket))
    }

    /// Calls that want an answer and were not delivered.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.iter().copied()
    }

    /// Whether the router has seen one call before the other.
    pub(crate) fn came_before(&self, one: Ticket, other: Ticket) -> bool {
        let came = |ticket: Ticket| self.entries[ticket.0].routed;
        came(one).is_some_and(|one| Some(one) < came(other))
    }

    pub(crate) fn has_arrived(&self, ticket: Ticket) -> bool {
        self.entries[ticket.0].arrived
    }

    pub(crate) fn request(&self, ticket: Ticket) -> &Request {
        &self.entries[ticket.0].request
    }

    /// The service and method that the receiver of a call must see; `None` if there was no such service.
    pub(crate) fn goes_to(&self, ticket: Ticket) -> Option<(&str, &str)> {
        self.entries[ticket.0].goes_to.as_ref().map(|(service, method)| (&**service, &**method))
    }

    pub(crate) fn end_of(&self, ticket: Ticket) -> Option<&Message> {
        self.entries[ticket.0].ended.as_ref()
    }

    pub(crate) fn describe(&self, ticket: Ticket) -> String {
        format!("{:?}", self.entries[ticket.0])
    }

    pub(crate) fn sender(&self, ticket: Ticket) -> Sender {
        self.entries[ticket.0].sender
    }

    pub(crate) fn uid(&self, ticket: Ticket) -> u32 {
        self.entries[ticket.0].uid
    }

    pub(crate) fn id(&self, ticket: Ticket) -> u64 {
        self.entries[ticket.0].id
    }

    pub(crate) fn was_delivered(&self, ticket: Ticket) -> bool {
        self.entries[ticket.0].delivered.is_some()
    }

    /// Checks that no call outlives its deadline, except one that isn't read because its sender doesn't read.
    pub(crate) fn assert_none_overdue(&self, now: Moment) {
        for ticket in &self.open {
            let entry = &self.entries[ticket.0];
            let is_over = entry.deadline.0.div_ceil(1000) <= now.0 / 1000;
            let is_read = entry.arrived && entry.routed.is_some();
            assert!(!is_over || entry.request.one_way || !is_read, "out of time at {now:?}: {entry:?}");
        }
    }

    /// Checks that every call whose caller waits has ended.
    pub(crate) fn assert_all_ended(&self) {
        let left = self.open.iter().map(|ticket| &self.entries[ticket.0]).find(|entry| !entry.request.one_way);
        assert!(left.is_none(), "a call has not ended: {left:?}");
    }
}

impl Entry {
    fn check_content(&self, arrival: &Arrival<'_>) {
        let Call { one_way, encoding, timeout_ms, body, .. } = arrival.call;
        assert_eq!((*one_way, *encoding), (self.request.one_way, self.request.encoding), "of {self:?}");
        assert!(*body == self.request.body[..], "the body of {self:?}");
        let left = self.deadline.since(arrival.now).as_millis().max(1);
        assert_eq!(u128::from(*timeout_ms), left, "milliseconds left of {self:?}");
    }

    fn check_end(&self, end: &Message, now: Moment) {
        let Message::Error(failure) = end else {
            assert!(!self.request.one_way, "a one-way call is answered: {self:?}");
            assert!(self.delivered.is_none() || self.answered, "no service sent this reply: {self:?}");
            return;
        };
        assert!(
            !(self.request.one_way && self.delivered.is_some()),
            "a one-way call that was delivered is answered: {self:?}"
        );
        if self.answered {
            return; // a service may answer its calls with any error
        }
        assert!(!(self.delivered.is_some() && failure.retry == Retry::Safe), "called safe though delivered: {self:?}");
        let is_for_broker = self.goes_to.as_ref().is_some_and(|(service, _)| service == "ipc");
        match failure.code {
            ErrorCode::DEADLINE => assert!(self.deadline <= now, "early by {:?}: {self:?}", self.deadline.since(now)),
            ErrorCode::NO_SERVICE => assert!(is_for_broker || self.goes_to.is_none(), "the service exists: {self:?}"),
            ErrorCode::APP_ERROR | ErrorCode::INTERNAL => panic!("only a service may send this: {self:?}"),
            _ => {}
        }
    }
}
