//! How much of each limit is in use, for `ipc.limits`.

use std::time::Duration;

use super::{accounts::Account, limits::Bounded, moment::Moment, names::Names, post::Post, retained::Sums};

/// The use of the limits. For a limit per peer, name or user it is that of the greatest user.
///
/// The greatest user is found by looking at all. That is done for each answer where there are few, and otherwise so seldom that
/// asking without end costs the broker a hundredth of its time.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// When all were looked at, and how many rows there were.
    counted: Option<(Moment, usize)>,
    total: Account,
    per_uid: Account,
    unread: u64,
    per_caller: u64,
    per_service: u64,
    names: u64,
    subscriptions: u64,
    patterns: u64,
    locks: u64,
    kept: Sums,
}

impl Uses {
    /// Looks at everything again, unless it has just been done.
    pub(crate) fn count(&mut self, now: Moment, post: &Post, names: &Names, kept: Sums) {
        (self.total, self.kept) = (post.accounts.total(), kept);
        let rows = post.peers.len() + names.len();
        let rest = REST * u32::try_from(rows).unwrap_or(u32::MAX);
        let is_fresh = self.counted.is_some_and(|(at, counted)| counted.max(rows) > FEW && now.since(at) < rest);
        if !is_fresh {
            *self = Self { counted: Some((now, rows)), kept, ..Self::of_all(post, names) };
        }
    }

    fn of_all(post: &Post, names: &Names) -> Self {
        let per_uid = post.accounts.per_uid();
        let mut uses = Self { total: post.accounts.total(), per_uid, ..Self::default() };
        for (_, peer) in post.peers.iter() {
            uses.unread = uses.unread.max(peer.unread as u64);
            uses.per_caller = uses.per_caller.max(peer.pending.len().into());
            uses.names = uses.names.max(peer.instances.len() as u64);
            uses.subscriptions = uses.subscriptions.max(peer.subscriptions.len() as u64);
            uses.patterns = uses.patterns.max(peer.patterns);
            uses.locks = uses.locks.max(peer.locks.len() as u64);
        }
        uses.per_caller = uses.per_caller.max(per_uid.loose_calls);
        uses.per_service = names.iter().map(|(_, name)| name.pending()).max().unwrap_or(0);
        uses
    }

    /// The present use of what a limit bounds, and its peak.
    pub(crate) fn of(&self, bounded: Bounded, post: &Post) -> (Option<u64>, Option<u64>) {
        let (peak, peak_per_uid, peaks) = (post.accounts.peak(), post.accounts.peak_per_uid(), &post.peaks);
        let (used, peak) = match bounded {
            Bounded::OneFrame => return (None, None),
            Bounded::Connections => (self.total.connections, peak.connections),
            Bounded::ConnectionsOfOneUser => (self.per_uid.connections, peak_per_uid.connections),
            Bounded::Bytes => (self.total.bytes, peak.bytes),
            Bounded::BytesOfOneUser => (self.per_uid.bytes, peak_per_uid.bytes),
            Bounded::UnreadOfOnePeer => (self.unread, peaks.unread),
            Bounded::CallsOfOneCaller => (self.per_caller, peaks.per_caller.max(peak_per_uid.loose_calls)),
            Bounded::CallsOfOneName => (self.per_service, peaks.per_service),
            Bounded::NamesOfOnePeer => (self.names, peaks.names),
            Bounded::SubscriptionsOfOnePeer => (self.subscriptions, peaks.subscriptions),
            Bounded::PatternsOfOnePeer => (self.patterns, peaks.patterns),
            Bounded::LocksOfOnePeer => (self.locks, peaks.locks),
            Bounded::KeptOfOneUser => (self.kept.per_uid, self.kept.peak_per_uid),
            Bounded::Kept => (self.kept.bytes, self.kept.peak),
        };
        (Some(used), Some(peak.max(used)))
    }
}

/// Rows that are looked at for each answer.
const FEW: usize = 256;
/// Time for each row until all are looked at again. Looking at one takes about 0.1 us, if it is in no cache.
const REST: Duration = Duration::from_micros(10);

#[cfg(test)]
mod tests {
    use ipc_protocol::{Identity, NoFd};

    use super::*;
    use crate::core::{limits::Limits, output::Output, policy::Effect};

    fn most_unread(uses: &mut Uses, now: Moment, post: &Post) -> u64 {
        uses.count(now, post, &Names::new(), Sums::default());
        uses.of(Bounded::UnreadOfOnePeer, post).0.unwrap()
    }

    #[test]
    fn few_peers_are_looked_at_each_time_and_many_only_now_and_then() {
        let (mut post, mut uses, now) = (Post::new(Limits::default()), Uses::default(), Moment(0));
        let admit =
            |post: &mut Post| post.admit(now, Identity::new(7, 7), Effect::Allow, &mut Vec::<Output<NoFd>>::new());
        let first = admit(&mut post);
        assert_eq!(most_unread(&mut uses, now, &post), 0);
        post.peers.get_mut(first).unwrap().unread = 5;
        assert_eq!(most_unread(&mut uses, now, &post), 5);

        (0..2 * FEW).for_each(|_| _ = admit(&mut post));
        assert_eq!(most_unread(&mut uses, now.after_ms(10), &post), 5);
        post.peers.get_mut(first).unwrap().unread = 6;
        assert_eq!(most_unread(&mut uses, now.after_ms(10), &post), 5, "it was done a moment ago");
        assert_eq!(most_unread(&mut uses, now.after_ms(20), &post), 6);
    }
}
