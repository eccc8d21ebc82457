//! What a peer that speaks JSON-RPC knows: which of its messages aren't answered, and which are in a batch.

use std::collections::{BTreeSet, VecDeque};

use ipc_protocol::{Call, Event, Hello, Message};
use serde_json::Value;

use super::{Peer, World, json};

#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// Numbers of what it has sent without an id.
    unasked: BTreeSet<u64>,
    /// The batch that it is writing.
    batch: Option<Batch>,
    /// The numbers of each batch that isn't answered.
    batches: Vec<BTreeSet<u64>>,
}

#[derive(Clone, Debug, Default)]
struct Batch {
    lines: Vec<String>,
    /// The numbers of those that are answered.
    numbers: BTreeSet<u64>,
}

impl Lines {
    /// The bytes of a message; `None` if there are no words for it, or it goes into a batch.
    pub(super) fn write(&mut self, message: &Message) -> Option<Vec<u8>> {
        let line = json::write(message)?;
        let (Message::Call(Call { id, one_way, .. }) | Message::Event(Event { id, one_way, .. })) = message else {
            return Some(line.into_bytes());
        };
        if *one_way {
            self.unasked.insert(*id);
        }
        let Some(batch) = &mut self.batch else { return Some(line.into_bytes()) };
        batch.lines.push(line);
        if !one_way {
            batch.numbers.insert(*id);
        }
        None
    }

    /// From now on calls and events go into a batch.
    pub(super) fn open_batch(&mut self) {
        self.batch = Some(Batch::default());
    }

    pub(super) fn is_batching(&self) -> bool {
        self.batch.is_some()
    }

    /// The batch, unless there is nothing in it.
    pub(super) fn close_batch(&mut self) -> Option<Vec<u8>> {
        let Batch { lines, numbers } = self.batch.take()?;
        if !numbers.is_empty() {
            self.batches.push(numbers);
        }
        (!lines.is_empty()).then(|| format!("[{}]", lines.join(",")).into_bytes())
    }

    /// Whether answers wait for others of their batch.
    pub(super) fn has_batches(&self) -> bool {
        !self.batches.is_empty()
    }

    /// What a line says: an event, the next message that there are words for, or the answers of a batch. Takes it out of what was sent.
    pub(super) fn read(&mut self, line: &[u8], sent: &mut VecDeque<Message>) -> Vec<Message> {
        match serde_json::from_slice(line).expect("a line is a message") {
            Value::Array(answers) => self.read_batch(&answers, sent),
            line => vec![json::event(&line).unwrap_or_else(|| self.read_one(&line, sent))],
        }
    }

    fn read_one(&self, line: &Value, sent: &mut VecDeque<Message>) -> Message {
        let at = sent.iter().position(|message| json::says(line, message) && !self.is_batched(message));
        let skipped = sent.iter().take(at.unwrap_or(0)).find(|message| !self.may_be_left_out(message));
        assert!(skipped.is_none(), "{line} comes before {skipped:?}");
        at.and_then(|at| sent.remove(at)).unwrap_or_else(|| panic!("{line} was not sent: {sent:?}"))
    }

    /// The answers of a batch are in the order of its calls.
    fn read_batch(&mut self, answers: &[Value], sent: &mut VecDeque<Message>) -> Vec<Message> {
        let take = |line: &Value| {
            let at = sent.iter().position(|message| json::says(line, message) && self.is_batched(message));
            at.and_then(|at| sent.remove(at)).unwrap_or_else(|| panic!("{line} was not sent: {sent:?}"))
        };
        let messages: Vec<Message> = answers.iter().map(take).collect();
        let numbers: Vec<u64> = messages.iter().filter_map(answered).collect();
        let is_it = |batch: &BTreeSet<u64>| batch.iter().eq(&numbers);
        let at =
            self.batches.iter().position(is_it).unwrap_or_else(|| panic!("{numbers:?} is none of {:?}", self.batches));
        self.batches.remove(at);
        messages
    }

    /// Checks that all that was sent has been said, once the peer has read all that came. `is_heard` is whether the broker has read all that
    /// the peer has sent, the end of its batches, too.
    pub(super) fn assert_all_said(&self, sent: &mut VecDeque<Message>, is_heard: bool) {
        let left = sent.iter().find(|message| !self.may_be_left_out(message));
        assert!(left.is_none(), "never said: {left:?}");
        let numbers: BTreeSet<_> = sent.iter().filter_map(answered).collect();
        let whole = self.batches.iter().find(|batch| is_heard && batch.is_subset(&numbers));
        assert!(whole.is_none(), "never said, though whole: {whole:?}");
        sent.retain(|message| self.is_batched(message));
    }

    fn is_batched(&self, message: &Message) -> bool {
        answered(message).is_some_and(|id| self.batches.iter().any(|batch| batch.contains(&id)))
    }

    /// Whether there may be no words for a message, or it waits for others of its batch.
    fn may_be_left_out(&self, message: &Message) -> bool {
        matches!(message, Message::Welcome(_))
            || self.is_batched(message)
            || answered(message).is_some_and(|id| self.unasked.contains(&id))
    }
}

impl World {
    /// From now on every third peer speaks JSON-RPC.
    pub(crate) fn mix(&mut self) {
        self.is_mixed = true;
    }

    /// A peer says hello. In JSON-RPC its first message does, so it asks something.
    pub(crate) fn greet(&mut self, peer: Peer, hello: Hello) {
        if !self.speaks_json(peer) {
            return self.send(peer, Message::Hello(hello));
        }
        let id = self.ask_aside(peer);
        self.send_bytes_cut(peer, json::greeting(id, &hello.agent).into_bytes(), usize::MAX);
    }

    /// A peer takes the next number for what isn't a call, and is answered. Returns the number.
    fn ask_aside(&mut self, peer: Peer) -> u64 {
        self.fakes[peer.0].last_call += 1;
        let id = self.fakes[peer.0].last_call;
        self.events.ask(peer, id, false);
        id
    }

    pub(crate) fn speaks_json(&self, peer: Peer) -> bool {
        self.fakes[peer.0].lines.is_some()
    }

    /// A peer sends what is no JSON.
    pub(crate) fn garble(&mut self, peer: Peer) {
        self.ask_aside(peer);
        self.send_bytes_cut(peer, b"{]\n".to_vec(), usize::MAX);
    }

    /// Until [`World::close_batch`], the calls of a peer go into a batch.
    pub(crate) fn open_batch(&mut self, peer: Peer) {
        self.fakes[peer.0].lines.as_mut().expect("it speaks JSON-RPC").open_batch();
    }

    pub(crate) fn close_batch(&mut self, peer: Peer) {
        if let Some(bytes) = self.fakes[peer.0].lines.as_mut().and_then(Lines::close_batch) {
            self.send_bytes_cut(peer, bytes, usize::MAX);
        }
    }

    /// A body so long that its message is skipped.
    pub(super) fn too_large(&self) -> Vec<u8> {
        vec![b'l'; usize::try_from(self.router.limits().body_bytes).expect("a test has low limits") + 20_000]
    }
}

/// The number of the call that a message answers.
fn answered(message: &Message) -> Option<u64> {
    match message {
        Message::Reply(reply) => Some(reply.id),
        Message::Error(failure) => Some(failure.id),
        _ => None,
    }
}
