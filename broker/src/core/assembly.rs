//! Incomplete frames: who is charged for them, which of them wait for room, and how long they may take.
//!
//! ```text
//! Partial: the front holds up to a few KiB        -> charged, with a deadline
//! Begun:   a longer one needs all of its bytes    -> Assemble, or Park until there is room, in order of arrival for each user
//! Message: it is complete                         -> discharged
//! ```

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

    /// Grants a frame all of its memory and returns true, or lets it wait behind earlier ones of the same user.
    pub(crate) fn begin(&mut self, post: &mut Post, now: Moment, from: PeerId, frame: Begun) -> bool {
        let Some((account, _)) = post.payer(from) else { return false };
        if !self.waiting.contains_key(&account) && grant(post, now, from, frame) {
            return true;
        }
        self.waiting.entry(account).or_default().push_back(from);
        if let Some(waiting) = post.peers.get_mut(from).and_then(|peer| peer.frame.as_mut()) {
            waiting.waiting = Some(frame);
        }
        self.watch(post, now, from);
        false
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
                let frame = post.peers.get(peer).and_then(|peer| peer.frame.as_ref()?.waiting);
                if frame.is_some_and(|frame| !grant(post, now, peer, frame)) {
                    break;
                }
                queue.pop_front();
                out.push(Output::Assemble { peer });
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

/// Charges a frame, if there is room for it.
fn grant(post: &mut Post, now: Moment, from: PeerId, begun: Begun) -> bool {
    let Some(peer) = post.peers.get_mut(from) else { return false };
    let Some(frame) = peer.frame.as_mut() else { return false };
    // The bytes that the front holds are charged already, and become part of the grant.
    let more = begun.len.saturating_sub(frame.held);
    if post.accounts.charge_bytes(peer.account, more, Use::Assembly, &post.limits).is_err() {
        return false;
    }
    frame.granted = frame.held + more;
    frame.held = 0;
    frame.waiting = None;
    post.peers.arm(from, now.after_ms(post.limits.frame_ms)); // any delay so far may have been the broker's
    true
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
