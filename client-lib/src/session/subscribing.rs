//! The session's part for subscriptions: agreed to by the broker, and given up.

use ipc_protocol::{
    Call, Encoding, Message, Routing, Streams,
    control::{self, Operation, operation},
};

use super::{
    Serial, Session, Taken,
    outgoing::{decode_answer, encode},
};
use crate::request::Response;

impl Session {
    /// Takes the next thing that a subscription tells. Its name is the call that asked for it.
    pub(crate) fn take_event(&mut self, id: Serial) -> Option<Taken> {
        self.feeds.take(id)
    }

    /// Whether a subscription tells nothing now.
    pub(crate) fn is_told(&mut self, id: Serial) -> bool {
        self.feeds.is_empty(id)
    }

    /// Gives a subscription up, whether the broker has agreed to it or not. Nothing of it is told from now on.
    pub(crate) fn unsubscribe(&mut self, id: Serial) {
        if let Some(subscription) = self.feeds.close(id) {
            self.tell_unsubscribed(subscription);
        }
    }

    /// A call was answered; if it asked for a subscription, events come next.
    #[inline]
    pub(super) fn subscribed(&mut self, id: u64, response: &Response) {
        if self.feeds.is_asked(Serial(id)) {
            self.open(Serial(id), response);
        }
    }

    #[cold]
    fn open(&mut self, id: Serial, response: &Response) {
        match decode_answer::<operation::Subscribe>(response) {
            Ok(control::Subscribed { subscription }) => {
                if !self.feeds.open(id, subscription) {
                    self.tell_unsubscribed(subscription);
                }
            }
            Err(_) => self.feeds.refuse(id), // the caller finds the same error in the answer
        }
    }

    /// The answer isn't waited for.
    fn tell_unsubscribed(&mut self, subscription: u64) {
        let Ok(body) = encode(Encoding::JSON, &control::Unsubscribe { subscription }) else { return };
        let Some(id) = self.next_id() else { return };
        self.unread_ends += 1;
        self.push(Message::Call(Call {
            id: id.0,
            one_way: false, // the broker takes this operation in no other way
            streams: Streams::NONE,
            encoding: Encoding::JSON,
            timeout_ms: 0,
            caller: bytes::Bytes::new(),
            routing: Routing::to(control::SERVICE, operation::Unsubscribe::NAME).build(),
            body: body.into(),
        }));
    }
}
