//! Items: messages from the core to a peer, with the cost of holding them until the peer has read them.

use ipc_protocol::{
    Gap,
    control::Keeping,
    wire::{Event, Message},
};
use serde::{Deserialize, Serialize};

/// A message for a peer. The front encodes it in the peer's dialect when the peer's socket takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<F> {
    /// The message.
    pub message: Message<F>,
    /// The bytes charged while it is held, which do not depend on the dialect.
    pub cost: usize,
    /// Whether it may be dropped.
    pub class: Class,
    /// Events of its subscription that were lost before it, which the peer is told first.
    pub lost: u64,
}

/// Whether an item may be dropped if its peer does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// It stays until it is read or its connection is closed: a call, the end of a call.
    Required,
    /// An event. It may be dropped if it or a later one doesn't fit, and is then counted.
    Droppable(Keep),
}

/// What of a subscription is kept while its peer doesn't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// What is dropped first.
    pub keeping: Keeping,
    /// The most events of the subscription that wait.
    pub queue: u32,
    /// The most that all items of the peer may cost for this one to wait, too.
    pub room: usize,
}

impl<F> Item<F> {
    /// An item that must arrive.
    #[must_use]
    pub fn required(message: Message<F>) -> Self {
        Self { cost: cost(&message), message, class: Class::Required, lost: 0 }
    }

    /// An item that must arrive, and whose place was paid for before.
    #[must_use]
    pub fn free(message: Message<F>) -> Self {
        Self { cost: 0, message, class: Class::Required, lost: 0 }
    }
}

impl<F> Item<F> {
    /// The subscription that an event or a gap belongs to, otherwise 0.
    pub(crate) fn subscription(&self) -> u64 {
        match &self.message {
            Message::Event(event) => event.id,
            Message::Gap(gap) => gap.id,
            _ => 0,
        }
    }

    /// The number of the call or event that it answers.
    pub(crate) fn answers(&self) -> Option<u64> {
        match &self.message {
            Message::Reply(reply) => Some(reply.id),
            Message::Error(failure) => Some(failure.id),
            _ => None,
        }
    }

    /// What its peer is told first, if events were lost before it.
    pub(crate) fn gap(&self) -> Option<Message<F>> {
        (self.lost > 0).then(|| Message::Gap(Gap { id: self.subscription(), lost: self.lost }))
    }
}

/// Bytes that a message keeps in memory.
pub(crate) fn cost<F>(message: &Message<F>) -> usize {
    ITEM + match message {
        Message::Call(call) => call.caller.len() + call.routing.raw().len() + call.body.len(),
        Message::Reply(reply) => reply.body.len(),
        Message::Item(item) => item.body.len(),
        Message::End(end) => end.text.len(),
        Message::Error(failure) => failure.text.len() + failure.body.len(),
        Message::Welcome(welcome) => welcome.agent.len(),
        Message::Hello(hello) => hello.agent.len(),
        Message::Goodbye(goodbye) => goodbye.text.len(),
        Message::Event(event) => return cost_of_event(event),
        _ => 0,
    }
}

/// Bytes that an event keeps in memory for one subscription. Those of its body may be shared, but each has to send them.
pub(crate) fn cost_of_event<F>(event: &Event<F>) -> usize {
    ITEM + LANE + event.routing.raw().len() + event.body.len()
}

/// The bytes of an event in the lane of its subscription, besides the item.
const LANE: usize = 64;
/// The bytes of the item itself in its peer's queue.
pub(crate) const ITEM: usize = 192;

#[cfg(test)]
mod tests {
    use ipc_protocol::NoFd;

    use super::*;

    #[test]
    fn an_item_is_charged_at_least_what_it_takes() {
        assert!(size_of::<Item<NoFd>>() <= ITEM, "{} bytes", size_of::<Item<NoFd>>());
        assert!(size_of::<Item<u64>>() <= ITEM, "{} bytes", size_of::<Item<u64>>());
    }
}
