//! Lanes: the events in a queue that its peer doesn't keep up with, those of each subscription in a lane of their own, so that one
//! can be dropped without a search.
//!
//! ```text
//! queue:  reply  A1  B1  A2  call  A3  B2        A and B are subscriptions
//! lanes:  A: 1 3 5    B: 2 6                     positions count from the first item that was ever queued
//! ```
//!
//! The number of events that were lost travels with the next event of its lane, which says so before itself. Only behind the last
//! one is a gap of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipc_protocol::{Gap, control::Keeping, wire::Message};

use crate::core::{Class, Item, Keep, Shed};

/// The events in a queue.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// The position of the first item in the queue.
    base: u64,
    lanes: BTreeMap<u64, Lane>,
    /// Items that were dropped, whose places are still in the queue.
    holes: usize,
}

/// The events of one subscription.
#[derive(Debug, Default)]
struct Lane {
    events: BTreeSet<u64>,
    /// The event of each topic, if only the newest one is kept.
    topics: BTreeMap<Box<str>, u64>,
    /// The gap behind the last event.
    gap: Option<u64>,
}

/// Items in a queue; `None` is one that was dropped.
pub(super) type Items<F> = VecDeque<Option<Item<F>>>;

impl Lanes {
    /// The lanes of a queue whose first item may be partly written, and stays.
    pub(super) fn of<F>(items: &Items<F>) -> Self {
        let mut lanes = Self::default();
        for (position, item) in (0..).zip(items) {
            match item {
                Some(item) => lanes.enter(position, item),
                None => lanes.holes += 1,
            }
        }
        lanes
    }

    /// Appends an event to the queue, or makes room for it, or drops it. `cost` is that of the whole queue.
    pub(super) fn push<F>(&mut self, items: &mut Items<F>, cost: usize, mut item: Item<F>, keep: Keep) -> Shed {
        let (id, mut shed) = (item.subscription(), Shed::default());
        if keep.keeping == Keeping::Latest
            && let Some(older) = self.lanes.get(&id).and_then(|lane| lane.topics.get(topic(&item)).copied())
        {
            self.drop_at(items, older, &mut item, &mut shed);
        }
        while self.is_over(id, cost - shed.cost + item.cost, keep) {
            let oldest = match keep.keeping {
                Keeping::DropOldest | Keeping::Latest => {
                    self.lanes.get(&id).and_then(|lane| lane.events.first()).copied()
                }
                Keeping::DropNewest => None,
                Keeping::Cut => return Shed { cut: true, ..self.leave_out(items, item, shed) },
            };
            match oldest {
                Some(oldest) => self.drop_at(items, oldest, &mut item, &mut shed),
                None => return self.leave_out(items, item, shed),
            }
        }
        self.take_gap(items, id, &mut item);
        self.enter(self.end(items), &item);
        items.push_back(Some(item));
        self.tidy(items);
        shed
    }

    /// Notes that the first item has left the queue.
    pub(super) fn left<F>(&mut self, item: Option<&Item<F>>) {
        match item {
            Some(item) => self.leave(self.base, item),
            None => self.holes -= 1,
        }
        self.base += 1;
    }

    fn end<F>(&self, items: &Items<F>) -> u64 {
        self.base + items.len() as u64
    }

    fn is_over(&self, id: u64, cost: usize, keep: Keep) -> bool {
        cost > keep.room || self.lanes.get(&id).is_some_and(|lane| lane.events.len() >= keep.queue as usize)
    }

    fn enter<F>(&mut self, position: u64, item: &Item<F>) {
        match (item.class, &item.message) {
            (Class::Droppable(keep), _) => {
                let lane = self.lanes.entry(item.subscription()).or_default();
                lane.events.insert(position);
                if keep.keeping == Keeping::Latest {
                    lane.topics.insert(topic(item).into(), position);
                }
            }
            (Class::Required, Message::Gap(gap)) => self.lanes.entry(gap.id).or_default().gap = Some(position),
            (Class::Required, _) => {}
        }
    }

    fn leave<F>(&mut self, position: u64, item: &Item<F>) {
        let id = item.subscription();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.events.remove(&position);
        lane.gap.take_if(|at| *at == position);
        if matches!(item.class, Class::Droppable(Keep { keeping: Keeping::Latest, .. }))
            && lane.topics.get(topic(item)) == Some(&position)
        {
            lane.topics.remove(topic(item));
        }
        if lane.events.is_empty() && lane.gap.is_none() {
            self.lanes.remove(&id);
        }
    }

    /// Drops an event. The next one of its lane, or else `newest`, tells of it.
    fn drop_at<F>(&mut self, items: &mut Items<F>, position: u64, newest: &mut Item<F>, shed: &mut Shed) {
        let id = newest.subscription();
        let Some(dropped) = self.place(items, position).and_then(Option::take) else { return };
        self.holes += 1;
        self.leave(position, &dropped);
        let next = self.lanes.get(&id).and_then(|lane| lane.events.range(position..).next()).copied();
        let heir = match next {
            Some(next) => self.place(items, next).and_then(Option::as_mut),
            None => Some(newest),
        };
        if let Some(heir) = heir {
            heir.lost += dropped.lost + 1;
        }
        shed.cost += dropped.cost;
        shed.events += 1;
    }

    /// Drops the new event, and counts it in a gap behind the last one of its lane.
    fn leave_out<F>(&mut self, items: &mut Items<F>, item: Item<F>, shed: Shed) -> Shed {
        let (id, lost) = (item.subscription(), item.lost + 1);
        let gap = self.lanes.get(&id).and_then(|lane| lane.gap);
        match gap.and_then(|at| self.place(items, at)) {
            Some(Some(Item { message: Message::Gap(gap), .. })) => gap.lost += lost,
            _ => {
                let gap = Item::free(Message::Gap(Gap { id, lost }));
                self.enter(self.end(items), &gap);
                items.push_back(Some(gap));
            }
        }
        Shed { cost: shed.cost + item.cost, events: shed.events + 1, cut: shed.cut }
    }

    /// Lets the new event tell of the gap behind the last one of its lane.
    fn take_gap<F>(&mut self, items: &mut Items<F>, id: u64, item: &mut Item<F>) {
        let Some(at) = self.lanes.get_mut(&id).and_then(|lane| lane.gap.take()) else { return };
        if let Some(Item { message: Message::Gap(gap), .. }) = self.place(items, at).and_then(Option::take) {
            self.holes += 1;
            item.lost += gap.lost;
        }
    }

    fn place<'a, F>(&self, items: &'a mut Items<F>, position: u64) -> Option<&'a mut Option<Item<F>>> {
        items.get_mut(usize::try_from(position.checked_sub(self.base)?).ok()?)
    }

    /// Closes the holes once they are the greater part, so that the queue of a peer that never reads stays short.
    fn tidy<F>(&mut self, items: &mut Items<F>) {
        if self.holes > FEW && self.holes > items.len() / 2 {
            items.retain(Option::is_some);
            *self = Self::of(items);
        }
    }
}

fn topic<F>(item: &Item<F>) -> &str {
    match &item.message {
        Message::Event(event) => event.topic(),
        _ => "",
    }
}

/// The number of holes that are always allowed.
const FEW: usize = 64;
