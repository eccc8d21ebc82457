//! What tests do with events: subscribe, publish, read.

use bytes::Bytes;
use ipc_protocol::{Encoding, Event, Hello, Message, Routing, control};

use super::{Peer, Request, World};

impl World {
    /// A peer subscribes, and the broker grants it. Returns the number of the subscription.
    pub(crate) fn subscribe(&mut self, peer: Peer, pattern: &str) -> u64 {
        self.subscribe_as(peer, &subscription(pattern))
    }

    /// As [`World::subscribe`], with all that can be asked for.
    pub(crate) fn subscribe_as(&mut self, peer: Peer, request: &control::Subscribe) -> u64 {
        let ticket = self.make(peer, Request::subscribe(request));
        let reply = self.expect_reply(ticket);
        serde_json::from_slice::<control::Subscribed>(&reply.body).expect("the answer to a subscription").subscription
    }

    /// A peer publishes, and wants no answer.
    pub(crate) fn publish(&mut self, peer: Peer, topic: &str, body: &str) {
        self.publish_as(peer, topic, body, |event| event.one_way = true);
    }

    /// A peer publishes; `change` says how. Returns its number for the event.
    pub(crate) fn publish_as(&mut self, peer: Peer, topic: &str, body: &str, change: impl FnOnce(&mut Event)) -> u64 {
        self.fakes[peer.0].last_call += 1;
        let id = self.fakes[peer.0].last_call;
        let mut event = event(id, topic, body);
        change(&mut event);
        self.events.ask(peer, id, event.one_way);
        self.send(peer, Message::Event(event));
        id
    }

    /// Takes the events and gaps that a peer has read: topics with bodies, and numbers of lost events.
    pub(crate) fn take_events(&mut self, peer: Peer) -> Vec<String> {
        let inbox = &mut self.fakes[peer.0].inbox;
        let is_event = |message: &Message| matches!(message, Message::Event(_) | Message::Gap(_));
        let (events, others) = std::mem::take(inbox).into_iter().partition::<Vec<_>, _>(is_event);
        *inbox = others.into();
        let text = |message: Message| match message {
            Message::Event(event) => {
                let kept = if event.retained { " (kept)" } else { "" };
                format!("{} {}{kept}", event.topic(), event.body.escape_ascii())
            }
            Message::Gap(gap) => format!("lost {}", gap.lost),
            other => unreachable!("{other:?}"),
        };
        events.into_iter().map(text).collect()
    }

    /// Clears all topics, unless the broker is stopping, which does that itself.
    pub(crate) fn clear_topics(&mut self) {
        let topics: Vec<_> = self.events.topics().map(str::to_owned).collect();
        if topics.is_empty() {
            return;
        }
        self.set_limits(|limits| limits.connections += 2 + limits.connections_reserved);
        let Ok(peer) = self.connect(0) else { return };
        self.greet(peer, Hello::new("cleaner"));
        for topic in topics {
            self.publish_as(peer, &topic, "", |event| event.retained = true);
        }
    }

    /// A peer publishes on a topic that cannot exist. Returns its number for the event.
    pub(crate) fn publish_misnamed(&mut self, from: Peer) -> u64 {
        self.send_rest(from);
        self.fakes[from.0].last_call += 1;
        let id = self.fakes[from.0].last_call;
        self.events.ask(from, id, false);
        let mut bytes =
            self.fakes[from.0].words(&Message::Event(event(id, "name", ""))).expect("it goes into no batch");
        let at = bytes.windows(4).position(|name| name == b"name").expect("it names a topic");
        bytes[at..at + 4].copy_from_slice(b"NAME");
        self.send_bytes(from, &bytes);
        id
    }

    /// A user without a connection publishes.
    pub(crate) fn publish_datagram(&mut self, uid: u32, topic: &str, body: &str) {
        let event = Event { one_way: true, ..event(7, topic, body) };
        self.send_datagram(uid, None, Message::Event(event));
    }
}

fn event(id: u64, topic: &str, body: &str) -> Event {
    Event {
        id,
        one_way: false,
        retained: false,
        encoding: Encoding::BYTES,
        publisher: Bytes::new(),
        routing: Routing::on(topic).build(),
        body: body.to_owned().into(),
    }
}

/// A request for a subscription with the defaults.
pub(crate) fn subscription(pattern: &str) -> control::Subscribe {
    serde_json::from_value(serde_json::json!({ "pattern": pattern })).expect("a good pattern")
}
