//! Events: a naive broker that compares each topic with each pattern, and what each subscription has still to receive or be told of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipc_protocol::{Event, Message, Pattern, control};

use super::{Peer, ledger::Asked};

/// All subscriptions, and the kept events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    subscriptions: BTreeMap<u64, Subscription>,
    /// Every event that was ever kept, by topic.
    kept: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// Events that were not answered, and whether they want no answer.
    unanswered: BTreeMap<(Peer, u64), bool>,
}

#[derive(Clone, Debug)]
struct Subscription {
    peer: Peer,
    pattern: Pattern,
    last: bool,
    /// Whether it was given up. What was sent before that still arrives.
    ended: bool,
    /// What the router has sent, and the peer has neither received nor was told that it is lost.
    owed: VecDeque<Event>,
    /// Lost before the next event, as the peer was told.
    gap: u64,
    /// Topics of which it was sent an event that was not a kept one.
    live: BTreeSet<String>,
}

impl Events {
    /// Applies what a request changes, once the broker has answered it.
    pub(crate) fn note(&mut self, peer: Peer, asked: &Asked, answer: &Message) {
        let Message::Reply(reply) = answer else { return };
        match asked {
            Asked::Subscribe { pattern, last } => {
                let answer: control::Subscribed = serde_json::from_slice(&reply.body).expect("an answer");
                let (pattern, last) = (pattern.parse().expect("only good patterns are granted"), *last);
                let (owed, live) = (VecDeque::new(), BTreeSet::new());
                let row = Subscription { peer, pattern, last, ended: false, owed, gap: 0, live };
                let before = self.subscriptions.insert(answer.subscription, row);
                assert!(before.is_none(), "subscription {} is given out twice", answer.subscription);
            }
            Asked::Unsubscribe { number } => {
                let row = self.subscriptions.get_mut(number).filter(|row| row.peer == peer && !row.ended);
                row.expect("only what was subscribed is given up").ended = true;
            }
            Asked::Call
            | Asked::Register { .. }
            | Asked::Unregister { .. }
            | Asked::Lock { .. }
            | Asked::Unlock { .. } => {}
        }
    }

    /// A peer publishes.
    pub(crate) fn ask(&mut self, peer: Peer, id: u64, one_way: bool) {
        self.unanswered.insert((peer, id), one_way);
    }

    /// Whether a message answers an event. It is answered once.
    pub(crate) fn is_answer(&mut self, to: Peer, message: &Message) -> bool {
        match message {
            Message::Reply(reply) => self.unanswered.remove(&(to, reply.id)).is_some_and(|one_way| !one_way),
            Message::Error(failure) => self.unanswered.remove(&(to, failure.id)).is_some(),
            _ => false,
        }
    }

    /// The subscriptions that an event must be sent to, each once.
    pub(crate) fn of_topic(&self, topic: &str, is_open: impl Fn(Peer) -> bool) -> BTreeSet<u64> {
        let is_own = |text: &str| text == "ipc" || text.starts_with("ipc.");
        let wants = |row: &Subscription| {
            !row.ended
                && is_open(row.peer)
                && row.pattern.matches(topic)
                && (!is_own(topic) || is_own(row.pattern.as_str()))
        };
        self.subscriptions.iter().filter(|(_, row)| wants(row)).map(|(number, _)| *number).collect()
    }

    /// An event was accepted that is to be kept.
    pub(crate) fn keep(&mut self, topic: &str, body: &[u8]) {
        if !body.is_empty() {
            self.kept.entry(topic.to_owned()).or_default().insert(body.to_vec());
        }
    }

    /// The router sends an event to a subscription.
    pub(crate) fn sent(&mut self, to: Peer, event: &Event) {
        let row = self.subscriptions.get_mut(&event.id).expect("events belong to subscriptions");
        assert!(row.peer == to && !row.ended, "{event:?} is sent to {to:?}, which has {row:?}");
        assert!(row.pattern.matches(event.topic()), "{event:?} does not match {}", row.pattern);
        let topic = event.topic().to_owned();
        if event.retained {
            let kept = self.kept.get(&topic).is_some_and(|bodies| bodies.contains(&event.body[..]));
            assert!(row.last && kept, "{event:?} was never kept");
            assert!(!row.live.contains(&topic), "{event:?} is older than what {to:?} was sent");
        } else {
            row.live.insert(topic);
        }
        row.owed.push_back(event.clone());
    }

    /// A peer has read a message.
    pub(crate) fn received(&mut self, by: Peer, message: &Message) {
        match message {
            Message::Gap(gap) => {
                let row = self.subscriptions.get_mut(&gap.id).filter(|row| row.peer == by);
                let row = row.expect("gaps belong to subscriptions");
                assert!(gap.lost > 0, "a gap of nothing");
                row.gap += gap.lost;
            }
            Message::Event(event) => {
                let row = self.subscriptions.get_mut(&event.id).filter(|row| row.peer == by);
                let row = row.expect("events belong to subscriptions");
                let lost = usize::try_from(std::mem::take(&mut row.gap)).expect("a test publishes few events");
                assert!(row.owed.len() > lost, "{lost} are lost of {:?}, and yet there is {event:?}", row.owed);
                row.owed.drain(..lost);
                let owed = row.owed.pop_front().expect("there are more than are lost");
                assert_eq!((owed.topic(), &owed.body), (event.topic(), &event.body), "the next event of {}", event.id);
                assert_eq!(owed.sequence(), event.sequence());
            }
            _ => {}
        }
    }

    /// A connection is closed.
    pub(crate) fn forget(&mut self, peer: Peer) {
        self.subscriptions.retain(|_, row| row.peer != peer);
        self.unanswered.retain(|(of, _), _| *of != peer);
    }

    /// A peer has read everything that it was sent: it knows how many events it has lost.
    pub(crate) fn assert_told(&self, peer: Peer) {
        for row in self.subscriptions.values().filter(|row| row.peer == peer) {
            assert_eq!(row.owed.len() as u64, row.gap, "events that {peer:?} lost, and what it was told: {row:?}");
        }
    }

    /// Topics that something was kept of.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.kept.keys().map(String::as_str)
    }

    /// The numbers of a peer's subscriptions.
    pub(crate) fn of_peer(&self, peer: Peer) -> Vec<u64> {
        self.subscriptions.iter().filter(|(_, row)| row.peer == peer && !row.ended).map(|(number, _)| *number).collect()
    }
}
