//! Items: messages from the core to a peer, with the cost of holding them until the peer has read them.

use ipc_protocol::wire::Message;
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
}

/// Whether an item may be dropped if its peer does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// It stays until it is read or its connection is closed: a call, the end of a call.
    Required,
    /// It may be dropped, and is then counted.
    Droppable,
}

impl<F> Item<F> {
    /// An item that must arrive.
    #[must_use]
    pub fn required(message: Message<F>) -> Self {
        Self { cost: cost(&message), message, class: Class::Required }
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
        _ => 0,
    }
}

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
