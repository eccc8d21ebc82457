//! The subscriptions of a connection: by the call that asked for them, and by the broker's number of them.

use std::collections::HashMap;

use bytes::Bytes;
use ipc_protocol::Event;

use super::{
    feed::{Feed, Keep, Taken},
    slots::Serial,
};

/// Subscriptions, from the moment they are asked for.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    asked: Vec<Asked>,
    by_number: HashMap<u64, (Serial, Feed)>,
    numbers: HashMap<Serial, u64>,
    /// Stamp of the last publisher: most events have the same as the one before.
    stamp: Bytes,
    /// Events that have come.
    come: u64,
}

/// A subscription that the broker has not agreed to yet.
#[derive(Debug)]
struct Asked {
    id: Serial,
    keep: Keep,
    /// Whether it is given up already.
    is_orphan: bool,
}

impl Feeds {
    /// Call `id` asks for a subscription.
    pub(super) fn ask(&mut self, id: Serial, keep: Keep) {
        self.asked.push(Asked { id, keep, is_orphan: false });
    }

    /// Whether call `id` asks for a subscription.
    pub(super) fn is_asked(&self, id: Serial) -> bool {
        self.asked.iter().any(|asked| asked.id == id)
    }

    /// The call that asks for a subscription has ended without one.
    pub(super) fn refuse(&mut self, id: Serial) {
        self.asked.retain(|asked| asked.id != id);
    }

    /// The broker has agreed. False if it isn't wanted any more.
    #[must_use]
    pub(super) fn open(&mut self, id: Serial, number: u64) -> bool {
        let Some(at) = self.asked.iter().position(|asked| asked.id == id) else { return false };
        let asked = self.asked.swap_remove(at);
        if !asked.is_orphan {
            self.by_number.insert(number, (id, Feed::new(asked.keep)));
            self.numbers.insert(id, number);
        }
        !asked.is_orphan
    }

    /// Gives a subscription up. Returns its number if the broker has to be told now; it is told later if it has not agreed yet.
    pub(super) fn close(&mut self, id: Serial) -> Option<u64> {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.id == id) {
            asked.is_orphan = true;
        }
        let number = self.numbers.remove(&id)?;
        self.by_number.remove(&number);
        Some(number)
    }

    /// An event has come. Returns the call that has asked for it, if its subscription is still wanted.
    pub(super) fn push(&mut self, mut event: Event) -> Option<Serial> {
        let (id, feed) = self.by_number.get_mut(&event.id)?;
        if event.publisher != self.stamp {
            self.stamp = Bytes::copy_from_slice(&event.publisher);
        }
        event.publisher = self.stamp.clone(); // all that is kept is copied out of the shared read buffer
        event.detach();
        self.come += 1;
        feed.push(self.come, event);
        Some(*id)
    }

    /// Events of a subscription were lost. Returns as [`Feeds::push`].
    pub(super) fn lose(&mut self, number: u64, events: u64) -> Option<Serial> {
        let (id, feed) = self.by_number.get_mut(&number)?;
        feed.lose(events);
        Some(*id)
    }

    /// The next thing that a subscription tells.
    pub(super) fn take(&mut self, id: Serial) -> Option<Taken> {
        self.of(id)?.take()
    }

    /// Whether a subscription has nothing to tell.
    pub(super) fn is_empty(&mut self, id: Serial) -> bool {
        self.of(id).is_none_or(|feed| feed.is_empty())
    }

    fn of(&mut self, id: Serial) -> Option<&mut Feed> {
        self.by_number.get_mut(self.numbers.get(&id)?).map(|(_, feed)| feed)
    }
}
