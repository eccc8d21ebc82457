//! Topics: a tree of the labels of all patterns. Finding the subscriptions of a topic takes a step for each of its labels, however many
//! patterns there are for others.

use std::collections::BTreeMap;

use ipc_protocol::{Pattern, Topic};
use serde::{Deserialize, Serialize};

use super::{
    ids::{OfSubscription, SubscriptionId},
    list::{List, Node as Row},
    table::Table,
};

/// The patterns of all subscriptions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Topics {
    nodes: Vec<Node>,
    /// Places of nodes that are gone.
    free: Vec<u32>,
}

/// What follows the same labels in some patterns.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Node {
    /// The next label, and the node behind it.
    labels: BTreeMap<Box<str>, u32>,
    /// The node behind a `*`.
    any: Option<u32>,
    /// Subscriptions whose pattern ends here.
    here: List<OfSubscription>,
    /// Subscriptions to everything below.
    below: List<OfSubscription>,
    /// The node before, and the label that leads here; `*` for any.
    parent: Option<(u32, Box<str>)>,
}

/// The place of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spot {
    node: u32,
    below: bool,
}

type Subscriptions<T> = Table<OfSubscription, T>;

impl Topics {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }

    /// Adds a subscription to a pattern.
    pub(crate) fn add<T>(&mut self, table: &mut Subscriptions<T>, pattern: &Pattern, id: SubscriptionId) -> Spot
    where
        T: Row<Kind = OfSubscription, Role = ()>,
    {
        let (labels, below) = split(pattern);
        let node =
            labels.split('.').filter(|label| !label.is_empty()).fold(ROOT, |node, label| self.behind(node, label));
        let spot = Spot { node, below };
        if let Some(list) = self.list(spot) {
            list.push(table, (), id);
        }
        spot
    }

    /// Removes a subscription.
    pub(crate) fn remove<T>(&mut self, table: &mut Subscriptions<T>, spot: Spot, id: SubscriptionId)
    where
        T: Row<Kind = OfSubscription, Role = ()>,
    {
        if let Some(list) = self.list(spot) {
            list.unlink(table, (), id);
        }
        self.prune(spot.node);
    }

    /// Whether any pattern is about the broker's own topics.
    #[inline]
    pub(crate) fn has_own(&self) -> bool {
        self.nodes.first().is_some_and(|root| root.labels.contains_key(OWN))
    }

    /// Appends the subscriptions of a topic, each once, to `found`. Returns the number of nodes that were looked at.
    pub(crate) fn find<T>(&self, table: &Subscriptions<T>, topic: &str, found: &mut Vec<SubscriptionId>) -> usize
    where
        T: Row<Kind = OfSubscription, Role = ()>,
    {
        let is_own = Topic::is_reserved(topic);
        let (mut at, mut next, mut looks) = (vec![ROOT], Vec::new(), 0);
        for label in topic.split('.') {
            for place in at.drain(..) {
                let Some(node) = self.nodes.get(place as usize) else { continue };
                looks += 1;
                if !(is_own && place == ROOT) {
                    found.extend(node.below.ids(table, ()));
                    next.extend(node.any);
                }
                next.extend(node.labels.get(label));
            }
            std::mem::swap(&mut at, &mut next);
        }
        for node in at.iter().filter_map(|place| self.nodes.get(*place as usize)) {
            looks += 1;
            found.extend(node.here.ids(table, ()));
        }
        looks
    }

    /// The node behind another one, and makes it if there is none.
    fn behind(&mut self, node: u32, label: &str) -> u32 {
        let found = self.nodes.get(node as usize).and_then(|node| match label {
            ANY => node.any,
            label => node.labels.get(label).copied(),
        });
        if let Some(found) = found {
            return found;
        }
        let made = Node { parent: Some((node, label.into())), ..Node::default() };
        let place = match self.free.pop() {
            Some(place) => place,
            None => u32::try_from(self.nodes.len()).unwrap_or(u32::MAX),
        };
        match self.nodes.get_mut(place as usize) {
            Some(free) => *free = made,
            None => self.nodes.push(made),
        }
        if let Some(node) = self.nodes.get_mut(node as usize) {
            match label {
                ANY => node.any = Some(place),
                label => _ = node.labels.insert(label.into(), place),
            }
        }
        place
    }

    /// Removes a node that leads nowhere, and those before it.
    fn prune(&mut self, mut place: u32) {
        while let Some(node) = self.nodes.get_mut(place as usize) {
            let leads_nowhere =
                node.labels.is_empty() && node.any.is_none() && node.here.is_empty() && node.below.is_empty();
            let Some((parent, label)) = node.parent.take_if(|_| leads_nowhere) else { return };
            self.free.push(place);
            if let Some(parent) = self.nodes.get_mut(parent as usize) {
                match &*label {
                    ANY => parent.any = None,
                    label => _ = parent.labels.remove(label),
                }
            }
            place = parent;
        }
    }

    fn list(&mut self, spot: Spot) -> Option<&mut List<OfSubscription>> {
        let node = self.nodes.get_mut(spot.node as usize)?;
        Some(if spot.below { &mut node.below } else { &mut node.here })
    }

    /// Whether far more places than nodes are kept.
    pub(crate) fn is_roomy(&self) -> bool {
        self.free.len() > FEW && self.free.len() > self.nodes.len() / 2
    }

    /// Gives back the free places at the end.
    pub(crate) fn give_back(&mut self) {
        self.free.sort_unstable_by(|one, other| other.cmp(one)); // the last one is used next: nodes gather at the front
        let kept = self.nodes.iter().rposition(|node| node.parent.is_some()).map_or(1, |last| last + 1);
        self.nodes.truncate(kept);
        self.free.retain(|place| (*place as usize) < kept);
        self.nodes.shrink_to(2 * kept);
        self.free.shrink_to(2 * kept);
    }

    /// Checks the tree, and that its lists hold `count` subscriptions. For the invariants.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn assert_whole<T>(&self, table: &Subscriptions<T>, count: usize, is_at: impl Fn(&T, Spot) -> bool)
    where
        T: Row<Kind = OfSubscription, Role = ()> + std::fmt::Debug,
    {
        let (mut listed, mut reached) = (0, 0);
        for (node, place) in self.nodes.iter().zip(0..) {
            let lists = [(&node.here, false), (&node.below, true)];
            listed += lists
                .map(|(list, below)| list.assert_whole(table, (), |row| is_at(row, Spot { node: place, below })))
                .iter()
                .sum::<usize>();
            reached += node.labels.len() + usize::from(node.any.is_some());
            for (label, behind) in
                node.labels.iter().map(|(label, place)| (&**label, *place)).chain(node.any.map(|place| (ANY, place)))
            {
                let parent = self.nodes[behind as usize].parent.as_ref();
                assert_eq!(parent.map(|(parent, label)| (*parent, &**label)), Some((place, label)), "the way back");
            }
        }
        assert_eq!(listed, count, "subscriptions in the tree");
        assert_eq!(reached + 1 + self.free.len(), self.nodes.len(), "nodes that are reached, and free ones");
    }
}

/// Bytes that a pattern takes in the tree, if it shares no node with others.
pub(crate) fn charge_of(pattern: &Pattern) -> usize {
    const NODE: usize = 192;
    NODE * (1 + pattern.as_str().matches('.').count()) + 3 * pattern.as_str().len()
}

/// The labels of a pattern, and whether it stands for everything below them.
fn split(pattern: &Pattern) -> (&str, bool) {
    let text = pattern.as_str();
    match text.strip_suffix("**").or_else(|| text.strip_suffix('.')) {
        Some(labels) => (labels, true),
        None => (text, false),
    }
}

const ROOT: u32 = 0;
const ANY: &str = "*";
/// The first label of the broker's own topics.
const OWN: &str = "ipc";
/// The number of free places that are kept in any case.
const FEW: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::list::Link;

    #[derive(Debug, Default)]
    struct Entry {
        link: Link<OfSubscription>,
    }

    impl Row for Entry {
        type Kind = OfSubscription;
        type Role = ();

        fn link(&self, (): ()) -> &Link<OfSubscription> {
            &self.link
        }

        fn link_mut(&mut self, (): ()) -> &mut Link<OfSubscription> {
            &mut self.link
        }
    }

    fn every(alphabet: &[&str], len: usize) -> Vec<String> {
        (1..=len)
            .fold(vec![Vec::new()], |all: Vec<Vec<String>>, _| {
                let longer = all.iter().flat_map(|start| {
                    alphabet.iter().map(|label| start.iter().cloned().chain([(*label).to_owned()]).collect::<Vec<_>>())
                });
                all.iter().cloned().chain(longer).collect()
            })
            .into_iter()
            .filter(|labels| !labels.is_empty())
            .map(|labels| labels.join("."))
            .collect()
    }

    #[test]
    fn the_tree_finds_what_each_pattern_alone_stands_for() {
        let (mut topics, mut table) = (Topics::new(), Table::new());
        let texts = every(&["a", "b", "*", "**", ""], 3).into_iter();
        let patterns: Vec<_> = texts.filter_map(|text| Pattern::parse(&text).ok()).collect();
        let mut spots = Vec::new();
        for pattern in &patterns {
            let id = table.insert(Entry::default());
            spots.push((id, topics.add(&mut table, pattern, id)));
        }
        assert!(patterns.len() > 60, "{}", patterns.len());
        for topic in every(&["a", "b", "c"], 4) {
            let mut found = Vec::new();
            topics.find(&table, &topic, &mut found);
            found.sort_unstable();
            let wanted: Vec<_> = spots
                .iter()
                .zip(&patterns)
                .filter(|(_, pattern)| pattern.matches(&topic))
                .map(|((id, _), _)| *id)
                .collect();
            assert_eq!(found, wanted, "of {topic}");
        }
        topics.assert_whole(&table, patterns.len(), |_, _| true);
        for (id, spot) in spots {
            topics.remove(&mut table, spot, id);
        }
        topics.give_back();
        assert_eq!((topics.nodes.len(), topics.free.len()), (1, 0));
    }

    #[test]
    fn only_a_pattern_that_says_so_stands_for_the_brokers_own_topics() {
        let (mut topics, mut table) = (Topics::new(), Table::new());
        let ids = ["**", "*.name.added", "ipc.", "ipc.*.added"].map(|text| {
            let id = table.insert(Entry::default());
            topics.add(&mut table, &Pattern::parse(text).unwrap(), id);
            id
        });
        let mut found = Vec::new();
        topics.find(&table, "ipc.name.added", &mut found);
        assert_eq!(found, [ids[2], ids[3]]);
        found.clear();
        topics.find(&table, "ipcx.name.added", &mut found);
        assert_eq!(found, [ids[0], ids[1]]);
    }

    #[test]
    fn other_patterns_cost_a_topic_nothing() {
        let (mut topics, mut table) = (Topics::new(), Table::new());
        for number in 0..10_000 {
            let id = table.insert(Entry::default());
            topics.add(&mut table, &Pattern::parse(&format!("other.t{number}.*")).unwrap(), id);
        }
        assert_eq!(topics.find(&table, "home.temp.cellar", &mut Vec::new()), 1);
        assert_eq!(topics.find(&table, "other.t7.x", &mut Vec::new()), 4);
    }
}
