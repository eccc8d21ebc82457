//! Publishing: events, from their publisher to the subscriptions of their topics.

use bytes::Bytes;
use ipc_protocol::{
    Encoding, FieldTag, Identity, Pattern, Routing, RoutingError, Topic, Violation,
    control::{self, Published, Subscribed, TopicPage, TopicRow},
    wire::{Event, Message, Reply},
};
use serde::Serialize;

use super::{
    accounts::Account,
    answer,
    calls::Caller,
    ids::{AccountId, PeerId, SubscriptionId},
    item::{self, Keep},
    moment::Moment,
    output::Outputs,
    policy::{Effect, Operation, Request},
    refusal::Refusal,
    retained::{self, Kept},
    router::{Arrival, Router},
    subscriptions::{self, Backlog},
    switchboard::{Origin, Switchboard},
    turns::FRAME,
};

/// Who has published an event.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) uid: u32,
    pub(super) payer: AccountId,
    /// Its identity, encoded as in delivered events.
    pub(super) stamp: Bytes,
    /// Its number for the event, if it has a connection.
    pub(super) sequence: Option<u64>,
}

impl<F> Router<F> {
    /// An event of a peer.
    pub(super) fn take_event(
        &mut self,
        arrival: Arrival,
        event: &mut Event<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Violation> {
        let (from, id, one_way) = (arrival.from, event.id, event.one_way);
        for (tag, is_there) in [
            (FieldTag::CALLER, !event.publisher.is_empty()),
            (FieldTag::SEQUENCE, event.routing.field(FieldTag::SEQUENCE).is_some()),
        ] {
            if is_there {
                return Err(RoutingError::Reserved(tag.0).into());
            }
        }
        if self.note_number(from, id)?.is_none() {
            return Ok(());
        }
        match self.publish(arrival, event, out) {
            Ok(_) if one_way => {}
            Ok(subscribers) => {
                let body = answer::encode(&Published { subscribers }).into();
                self.board.post.send(from, Message::Reply(Reply { id, encoding: Encoding::JSON, body }), out);
            }
            Err(refusal) => self.board.refuse(&Caller::Peer { peer: from, id }, refusal, out),
        }
        Ok(())
    }

    /// Publishes an event of a peer. Returns the number of subscriptions that it was sent to.
    fn publish(&mut self, arrival: Arrival, event: &mut Event<F>, out: &mut impl Outputs<F>) -> Result<u32, Refusal> {
        let Arrival { from, now, .. } = arrival;
        let Some(peer) = self.board.post.peers.get(from) else { return Ok(0) };
        if peer.denied && peer.effect == Effect::Deny {
            return Err(Refusal::Denied { uid: peer.identity.uid }); // it is logged already
        }
        if self.policy.verdict(&publish_on(&peer.identity, event.topic())).effect == Effect::Deny {
            let identity = peer.identity.clone();
            self.authorise(&publish_on(&identity, event.topic()), Some(from), out)?;
        }
        self.check_event(event)?;
        let Some(peer) = self.board.post.peers.get_mut(from) else { return Ok(0) };
        peer.published += 1;
        let (uid, payer, stamp) = (peer.identity.uid, peer.account, peer.stamp.clone());
        let publisher = Publisher { uid, payer, stamp, sequence: Some(peer.published) };
        self.send_event(now, &publisher, event, out)
    }

    /// Publishes an event that came by datagram.
    pub(super) fn publish_datagram(
        &mut self,
        now: Moment,
        (sender, payer): (&Identity, AccountId),
        event: &mut Event<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<u32, Refusal> {
        self.authorise(&publish_on(sender, event.topic()), None, out)?;
        self.check_event(event)?;
        let publisher = Publisher { uid: sender.uid, payer, stamp: sender.stamp(None), sequence: None };
        self.send_event(now, &publisher, event, out)
    }

    fn check_event(&self, event: &Event<F>) -> Result<(), Refusal> {
        let (len, limit) = (event.body.len() as u64, self.board.post.limits.body_bytes);
        if len > limit {
            return Err(Refusal::TooLarge { len, limit });
        }
        if self.board.draining {
            return Err(Refusal::Draining);
        }
        if Topic::is_reserved(event.topic()) {
            return Err(Refusal::ReservedTopic(event.topic().to_owned()));
        }
        Ok(())
    }

    fn send_event(
        &mut self,
        now: Moment,
        publisher: &Publisher,
        event: &mut Event<F>,
        out: &mut impl Outputs<F>,
    ) -> Result<u32, Refusal> {
        let retained = std::mem::take(&mut event.retained);
        event.routing = event.routing.published(&publisher.stamp, publisher.sequence);
        if retained {
            self.board.keep(now, publisher, event)?;
        }
        let (subscribers, work) = self.board.spread(event, out);
        self.board.post.work += work * DELIVERY;
        Ok(subscribers)
    }

    /// `ipc.subscribe`, whose pattern has to be authorised first.
    pub(super) fn subscribe(
        &mut self,
        identity: &Identity,
        origin: &Origin,
        request: control::Subscribe,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let topic = request.pattern.as_str();
        let is_own = Topic::is_reserved(topic.trim_end_matches('.'));
        let operation = if is_own { Operation::Inspect } else { Operation::Subscribe };
        let asked = Request { identity, operation, service: b"", method: b"", topic: topic.as_bytes() };
        self.authorise(&asked, origin.peer, out)?;
        self.board.subscribe(origin, request, out)
    }
}

impl<F> Switchboard<F> {
    /// Sends an event to all subscriptions of its topic. Returns their number, and the work that this was.
    fn spread(&mut self, event: &mut Event<F>, out: &mut impl Outputs<F>) -> (u32, u64) {
        self.retained.pass(event.topic());
        self.post.counters.events += 1;
        self.found.clear();
        let looks = self.subscriptions.of_topic(event.topic(), &mut self.found);
        if self.found.len() > 1 {
            event.detach(); // once for all who don't read it at once
        }
        let (cost, mut sent) = (item::cost_of_event(event), 0);
        for id in &self.found {
            let Some(row) = self.subscriptions.get(*id) else { continue };
            let keep = Keep { keeping: row.policy, queue: row.queue, room: 0 };
            sent += u32::from(self.post.send_event(row.peer, (event.share(id.to_bits()), cost), keep, out));
        }
        (sent, (looks + self.found.len()) as u64)
    }

    /// Publishes an event of the broker itself, if anyone may be interested.
    #[inline]
    pub(crate) fn announce<T: Serialize>(&mut self, topic: &str, body: impl FnOnce() -> T, out: &mut impl Outputs<F>) {
        if self.subscriptions.has_own() {
            self.announce_now(topic, &body(), out);
        }
    }

    #[cold]
    fn announce_now<T: Serialize>(&mut self, topic: &str, body: &T, out: &mut impl Outputs<F>) {
        let mut event = Event {
            id: 0,
            one_way: false,
            retained: false,
            encoding: Encoding::JSON,
            publisher: Bytes::new(),
            routing: Routing::on(topic).build(),
            body: answer::encode(body).into(),
        };
        self.spread(&mut event, out);
    }

    /// Keeps an event as the last of its topic, or forgets the last one if its body is empty.
    fn keep(&mut self, now: Moment, publisher: &Publisher, event: &mut Event<F>) -> Result<(), Refusal> {
        if event.body.is_empty() {
            if let Some(before) = self.retained.clear(event.topic()) {
                self.post.accounts.discharge(before.payer, Account::bytes(before.charge()));
            }
            return Ok(());
        }
        let (limits, more) = (&self.post.limits, retained::charge_of(event) as u64);
        let before = self.retained.get(event.topic());
        let (less, own) = before.map_or((0, 0), |kept| {
            let charge = kept.charge() as u64;
            (charge, if kept.uid == publisher.uid { charge } else { 0 })
        });
        if self.retained.bytes_of(publisher.uid) + more - own > limits.retained_bytes_per_uid {
            return Err(Refusal::UserKeeps(limits.retained_bytes_per_uid));
        }
        if self.retained.bytes() + more - less > limits.retained_bytes {
            return Err(Refusal::BrokerKeeps(limits.retained_bytes));
        }
        self.post.charge_or_refuse(publisher.payer, retained::charge_of(event), usize::MAX)?;
        event.detach();
        let (uid, payer) = (publisher.uid, publisher.payer);
        let kept = Kept { event: event.share(0), payer, uid, published: now, order: 0 };
        if let Some(before) = self.retained.keep(kept) {
            self.post.accounts.discharge(before.payer, Account::bytes(before.charge()));
        }
        Ok(())
    }

    /// Forgets all kept events.
    #[cold]
    pub(crate) fn forget_kept(&mut self) {
        for kept in self.retained.take_all() {
            self.post.accounts.discharge(kept.payer, Account::bytes(kept.charge()));
        }
    }

    /// `ipc.subscribe`. The answer is sent before the first event.
    fn subscribe(
        &mut self,
        origin: &Origin,
        mut request: control::Subscribe,
        out: &mut impl Outputs<F>,
    ) -> Result<(), Refusal> {
        let Caller::Peer { peer: peer_id, id: call_id } = origin.caller else {
            return Err(needs_connection());
        };
        let Some(peer) = self.post.peers.get(peer_id) else { return Err(Refusal::Draining) };
        let (limits, waiting, account) = (&self.post.limits, peer.subscriptions.len(), peer.account);
        if self.draining {
            return Err(Refusal::Draining);
        }
        if waiting as u64 >= limits.subscriptions_per_peer {
            return Err(Refusal::TooManySubscriptions(limits.subscriptions_per_peer));
        }
        let bytes = peer.patterns + request.pattern.as_str().len() as u64;
        if bytes > limits.pattern_bytes_per_peer {
            return Err(Refusal::TooManyPatterns(limits.pattern_bytes_per_peer));
        }
        request.queue = u32::try_from(limits.queue_events).unwrap_or(u32::MAX).min(request.queue);
        self.post.charge_or_refuse(account, subscriptions::charge_of(&request.pattern), waiting)?;
        let backlog = request.last.then(|| Backlog { after: None, until: self.retained.order() });
        let id = self.subscriptions.add(peer_id, request, backlog);
        if let Some(peer) = self.post.peers.get_mut(peer_id) {
            peer.subscriptions.push(id);
            peer.patterns = bytes;
            self.post.peaks.subscriptions = self.post.peaks.subscriptions.max(peer.subscriptions.len() as u64);
            self.post.peaks.patterns = self.post.peaks.patterns.max(bytes);
        }
        self.post.send(peer_id, answer::reply(call_id, &Subscribed { subscription: id.to_bits() }), out);
        self.catch_up(id, out);
        Ok(())
    }

    /// `ipc.unsubscribe`.
    pub(crate) fn unsubscribe(&mut self, peer_id: PeerId, number: u64) -> Result<(), Refusal> {
        let no_such = Refusal::NoSubscription(number);
        let id = SubscriptionId::from_bits(number).ok_or(no_such.clone())?;
        let Some(peer) = self.post.peers.get_mut(peer_id) else { return Err(no_such) };
        let at = peer.subscriptions.iter().position(|own| *own == id).ok_or(no_such)?;
        peer.subscriptions.remove(at);
        self.end_subscription(id);
        Ok(())
    }

    /// Removes a subscription that its peer has given up.
    pub(crate) fn end_subscription(&mut self, id: SubscriptionId) {
        let Some(row) = self.subscriptions.remove(id) else { return };
        if let Some(peer) = self.post.peers.get_mut(row.peer) {
            peer.patterns -= row.pattern.as_str().len() as u64;
            let account = peer.account;
            self.post.accounts.discharge(account, Account::bytes(row.charge()));
        }
    }

    /// Sends kept events to the subscriptions of a peer that has read.
    #[cold]
    pub(crate) fn catch_up_peer(&mut self, peer: PeerId, out: &mut impl Outputs<F>) {
        let subscriptions = self.post.peers.get(peer).map(|peer| peer.subscriptions.clone()).unwrap_or_default();
        subscriptions.into_iter().for_each(|id| self.catch_up(id, out));
    }

    /// Sends kept events to a subscription, as far as its peer reads them.
    fn catch_up(&mut self, id: SubscriptionId, out: &mut impl Outputs<F>) {
        let Self { subscriptions, retained, post, .. } = self;
        let Some(row) = subscriptions.get_mut(id) else { return };
        let Some(backlog) = &mut row.backlog else { return };
        let keep = Keep { keeping: row.policy, queue: row.queue, room: 0 };
        let (after, until) = (backlog.after.take(), backlog.until);
        let mut last = after.as_deref();
        for (topic, kept) in retained.after(last, row.pattern.prefix()) {
            if kept.order > until || !row.pattern.matches(topic) {
                continue;
            }
            if !post.reads_on(row.peer) {
                backlog.after = last.map(Box::from);
                return;
            }
            let event = Event { retained: true, ..kept.event.share(id.to_bits()) };
            post.send_event(row.peer, (event, item::cost_of_event(&kept.event)), keep, out);
            last = Some(topic);
        }
        subscriptions.end_backlog(id);
    }

    /// `ipc.topics`.
    pub(crate) fn topic_page(&self, now: Moment, request: &control::Topics) -> TopicPage {
        let pattern = request.pattern.as_ref();
        let mut looked_at =
            self.retained.after(request.after.as_ref().map(Topic::as_str), pattern.map_or("", Pattern::prefix));
        let (mut topics, mut last) = (Vec::new(), None);
        for (topic, kept) in looked_at.by_ref().take(LOOKS) {
            let Ok(topic) = Topic::parse(topic) else { continue };
            if pattern.is_none_or(|pattern| pattern.matches(topic.as_str())) {
                if topics.len() == PAGE {
                    return TopicPage { topics, next: last };
                }
                let age_ms = u64::try_from(now.since(kept.published).as_millis()).unwrap_or(u64::MAX);
                let (encoding, bytes) = (kept.event.encoding, kept.event.body.len() as u64);
                topics.push(TopicRow { topic: topic.clone(), uid: kept.uid, encoding, bytes, age_ms });
            }
            last = Some(topic);
        }
        let next = looked_at.next().and(last);
        TopicPage { topics, next }
    }
}

/// The refusal of what lasts as long as a connection.
pub(crate) fn needs_connection() -> Refusal {
    Refusal::Invalid(
        "a subscription lasts as long as its connection: it cannot be made or ended by datagram, or one-way".to_owned(),
    )
}

fn publish_on<'a>(identity: &'a Identity, topic: &'a str) -> Request<'a> {
    Request { identity, operation: Operation::Publish, service: b"", method: b"", topic: topic.as_bytes() }
}

/// The work of a delivery besides the bytes that it sends, and of a step to find it. Routing a frame takes about four times as long.
/// But the writes at the end of a turn, one a subscriber, take longer still, however few events each of them brings: as many events
/// are let into a turn as make the writes worth their while.
const DELIVERY: u64 = FRAME / 16;
/// The number of rows on a page.
const PAGE: usize = 32;
/// The number of topics examined for one page.
const LOOKS: usize = 128;
