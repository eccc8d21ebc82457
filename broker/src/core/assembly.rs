//! Incomplete frames: who is charged for them, which of them wait for room, and how long they may take.
//!
//! ```text
//! Partial: the front holds up to a few KiB        -> charged, with a deadline
//! Begun:   a longer one needs memory              -> Assemble, or Park until there is room, in order of arrival for each user
//! Begun:   what was granted has come              -> the same, with twice as much
//! Message: it is complete                         -> discharged
//! ```
//!
//! What has arrived is charged, not what was announced: a sender that stops after a header holds `frame_step`. Frames that wait for each
//! other's rest would wait for ever, so a grant that is not a frame's last leaves room for the rest of any frame. If there is no such
//! room, a frame is granted the whole of its rest, or waits. One that has it all ends soon, and until one does, the room is there.

use std::collections::{BTreeMap, VecDeque};

use ipc_protocol::Kind;
use serde::{Deserialize, Serialize};

use super::{
    accounts::Account,
    ids::{AccountId, PeerId},
    input::Begun,
    limits::Use,
    moment::Moment,
    output::{Output, Outputs},
    peers::{Frame, Stage},
    post::Post,
};

/// The peers whose frames wait for room, by the account that is charged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Assembly {
    #[serde(with = "as_pairs")]
    waiting: BTreeMap<AccountId, VecDeque<PeerId>>,
}

impl Assembly {
    /// Charges for a frame that has begun to arrive, of which the front holds `held` bytes.
    pub(crate) fn partial(&self, post: &mut Post, now: Moment, from: PeerId, held: usize) {
        let Some(peer) = post.peers.get_mut(from) else { return };
        let is_new = peer.frame.is_none();
        let frame = peer.frame.get_or_insert(Frame { since: now, held: 0, granted: 0, waiting: None });
        let charged = frame.held;
        if frame.granted == 0 {
            frame.held = held;
        }
        let (account, held, is_ready) = (peer.account, frame.held, peer.stage == Stage::Ready);
        if held > charged {
            post.accounts.charge(account, Account::bytes(held - charged));
        } else if held < charged {
            post.accounts.discharge_bytes(account, charged - held);
        }
        if is_new && is_ready {
            post.peers.arm(from, now.after_ms(post.limits.frame_ms));
        }
    }

    /// Grants a frame more memory and returns how much it has now, or lets it wait behind earlier ones of the same user.
    pub(crate) fn begin(&mut self, post: &mut Post, now: Moment, from: PeerId, begun: Begun) -> Option<usize> {
        let (account, _) = post.payer(from)?;
        if !self.waiting.contains_key(&account)
            && let Some(granted) = grant(post, now, from, begun)
        {
            return Some(granted);
        }
        self.waiting.entry(account).or_default().push_back(from);
        if let Some(frame) = post.peers.get_mut(from).and_then(|peer| peer.frame.as_mut()) {
            frame.waiting = Some(begun);
        }
        self.watch(post, now, from);
        None
    }

    /// Whether no frame is waiting for room.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Grants room to waiting frames that fit now.
    pub(crate) fn retry<F>(&mut self, post: &mut Post, now: Moment, out: &mut impl Outputs<F>) {
        self.waiting.retain(|_, queue| {
            while let Some(peer) = queue.front().copied() {
                if post.leaves(peer) {
                    queue.pop_front(); // what it sent before it was cut is not read any more
                    continue;
                }
                let begun = post.peers.get(peer).and_then(|peer| peer.frame.as_ref()?.waiting);
                let Some(granted) = begun.and_then(|begun| grant(post, now, peer, begun)) else { break };
                queue.pop_front();
                out.push(Output::Assemble { peer, granted });
            }
            !queue.is_empty()
        });
    }

    /// Stops a frame from waiting. It is not assembled any more.
    pub(crate) fn give_up(&mut self, post: &mut Post, from: PeerId) -> Option<Begun> {
        let peer = post.peers.get_mut(from)?;
        let frame = peer.frame.as_mut()?.waiting.take()?;
        if let Some(queue) = self.waiting.get_mut(&peer.account) {
            queue.retain(|other| *other != from);
            if queue.is_empty() {
                self.waiting.remove(&peer.account);
            } else {
                post.accounts.note_freed();
            }
        }
        Some(frame)
    }

    /// Discharges what was granted to a frame that is skipped.
    pub(crate) fn drop_grant(&self, post: &mut Post, from: PeerId) {
        let Some(peer) = post.peers.get_mut(from) else { return };
        let Some(frame) = peer.frame.as_mut() else { return };
        let granted = std::mem::take(&mut frame.granted);
        if granted > 0 {
            post.accounts.discharge_bytes(peer.account, granted);
        }
    }

    /// Discharges a frame that is complete or never will be. Returns when it began.
    pub(crate) fn end(&mut self, post: &mut Post, from: PeerId) -> Option<Moment> {
        self.give_up(post, from);
        let peer = post.peers.get_mut(from)?;
        let frame = peer.frame.take()?;
        let (account, is_ready) = (peer.account, peer.stage != Stage::Greeting);
        post.accounts.discharge_bytes(account, frame.held + frame.granted);
        if is_ready {
            post.peers.disarm(from);
        }
        Some(frame.since)
    }

    /// Sets a waiting frame's deadline: its call's own, or the time that a frame may take, after which the router looks at it.
    pub(crate) fn watch(&self, post: &mut Post, now: Moment, from: PeerId) {
        let frame = post.peers.get(from).and_then(|peer| peer.frame.as_ref());
        let Some((since, waiting)) = frame.and_then(|frame| Some((frame.since, frame.waiting?))) else { return };
        let look = now.after_ms(post.limits.frame_ms);
        let due = match waiting.kind {
            Kind::CALL => look.min(since.after(post.limits.timeout(waiting.timeout_ms))),
            _ => look,
        };
        post.peers.arm(from, due.max(now.after_ms(1))); // the deadline may have passed before the frame asked for room
    }

    /// Peers whose frames wait, those of each user in order of arrival.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (AccountId, PeerId)> {
        self.waiting.iter().flat_map(|(account, queue)| queue.iter().map(|peer| (*account, *peer)))
    }
}

/// Charges the next part of a frame, if there is room for it. Returns what it has then.
fn grant(post: &mut Post, now: Moment, from: PeerId, begun: Begun) -> Option<usize> {
    let granted = next_grant(post, from, &begun)?;
    let peer = post.peers.get_mut(from)?;
    let frame = peer.frame.as_mut()?;
    // The bytes that the front holds are charged already, and become part of the grant.
    let more = granted.saturating_sub(frame.held + frame.granted);
    (frame.granted, frame.held) = (frame.held + frame.granted + more, 0);
    let has_waited = frame.waiting.take().is_some();
    let granted = frame.granted;
    post.accounts.charge(peer.account, Account::bytes(more));
    if has_waited {
        post.peers.arm(from, now.after_ms(post.limits.frame_ms)); // the delay so far was the broker's
    }
    Some(granted)
}

/// What a frame may have next, in all: twice what has come of it, if that leaves room for the rest of another one, or else all of it.
/// `None` if there is no room even for that.
pub(crate) fn next_grant(post: &Post, from: PeerId, begun: &Begun) -> Option<usize> {
    let peer = post.peers.get(from)?;
    let frame = peer.frame.as_ref()?;
    let (limits, has) = (&post.limits, frame.held + frame.granted);
    let has_room = |bytes| post.accounts.has_room(peer.account, bytes, Use::Assembly, limits).is_ok();
    let step = usize::try_from(limits.frame_step).unwrap_or(usize::MAX);
    let next = has.saturating_mul(2).max(step);
    let reserve = usize::try_from(limits.frame_bytes()).unwrap_or(usize::MAX);
    if next < begun.len && has_room((next - has).saturating_add(reserve)) {
        return Some(next);
    }
    has_room(begun.len.saturating_sub(has)).then_some(begun.len)
}

/// Writes the map as pairs, because JSON keys are strings.
mod as_pairs {
    use std::collections::{BTreeMap, VecDeque};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{AccountId, PeerId};

    type Waiting = BTreeMap<AccountId, VecDeque<PeerId>>;

    pub(super) fn serialize<S: Serializer>(waiting: &Waiting, serializer: S) -> Result<S::Ok, S::Error> {
        waiting.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Waiting, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
