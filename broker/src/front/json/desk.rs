//! The desk of a connection: which ids its calls have, which answers wait for the rest of their batch, how many items its peer takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipc_protocol::{
    Credit, Encoding, ErrorCode,
    wire::{Failure, Message},
};
use serde::{Deserialize, Serialize};

/// What the broker has to know about a peer to speak its dialect.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::front) struct Desk {
    /// The number of the last call or event.
    last: u64,
    /// What the peer waits for, by number.
    asked: BTreeMap<u64, Asked>,
    /// The numbers by id, once an id was looked for.
    #[serde(skip)]
    numbers: Option<BTreeMap<Box<[u8]>, u64>>,
    /// Batches by the number that came before them.
    batches: BTreeMap<u64, Batch>,
    /// Batches whose answers are all there.
    whole: VecDeque<u64>,
    /// Calls with a stream that the peer receives: its own, and those delivered to it.
    own_grants: BTreeMap<u64, Grant>,
    grants: BTreeMap<u64, Grant>,
    /// Calls delivered to the peer whose body is bytes: a text in the answer is bytes, too.
    of_bytes: BTreeSet<u64>,
    /// What is said to the router in the peer's place.
    said: VecDeque<Said>,
    /// Bytes of all that.
    kept: usize,
}

/// A call or an event that the peer waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The id as it came.
    pub(super) id: Box<[u8]>,
    /// Whether there was no call, because what came was no JSON.
    pub(super) is_garbled: bool,
    pub(super) place: Place,
}

/// The place of an answer in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// It stands alone.
    Alone,
    /// It waits for the others of its batch.
    Waiting(u64),
    /// It is in a batch, before others or not, behind others or not.
    Listed { is_first: bool, is_last: bool },
}

/// A batch that is not answered yet.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Batch {
    /// Whether more of it is to be read.
    is_open: bool,
    /// Numbers of its calls.
    numbers: Vec<u64>,
    /// How many of them have an answer.
    answered: usize,
}

/// Items that a peer takes more of as it reads.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Grant {
    /// Those that it has read since the last credit, and the bytes of their bodies.
    items: u32,
    bytes: u64,
}

/// A message in the peer's place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Said {
    /// It takes items.
    Credit(Credit),
    /// It doesn't take a call in this encoding.
    Refusal(u64, Encoding),
}

impl Batch {
    fn is_whole(&self) -> bool {
        !self.is_open && self.answered == self.numbers.len()
    }
}

impl Desk {
    /// The number of the next call or event, if it comes.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Numbers a call or an event that no answer is wanted of.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Numbers a call or an event whose answer carries this id.
    pub(super) fn ask(&mut self, id: &[u8], batch: Option<u64>) -> u64 {
        let number = self.number();
        let place = batch.map_or(Place::Alone, Place::Waiting);
        if let Some(batch) = batch.and_then(|batch| self.batches.get_mut(&batch)) {
            batch.numbers.push(number);
        }
        if let Some(numbers) = &mut self.numbers {
            numbers.insert(id.into(), number);
        }
        self.kept += charge(id);
        self.asked.insert(number, Asked { id: id.into(), is_garbled: false, place });
        number
    }

    /// Numbers what can't be read, and whose answer says so.
    pub(super) fn garbled(&mut self) -> u64 {
        let number = self.ask(NULL, None);
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.is_garbled = true;
        }
        number
    }

    /// What the peer waits for.
    pub(super) fn asked(&self, number: u64) -> Option<&Asked> {
        self.asked.get(&number)
    }

    /// The number of the call with this id, the latest if there are several.
    pub(super) fn find(&mut self, id: &[u8]) -> Option<u64> {
        let asked = &self.asked;
        let all = || asked.iter().map(|(number, asked)| (asked.id.clone(), *number)).collect();
        self.numbers.get_or_insert_with(all).get(id).copied()
    }

    /// Forgets a call whose answer was written.
    pub(in crate::front) fn forget(&mut self, number: u64) {
        let Some(asked) = self.asked.remove(&number) else { return };
        self.kept -= charge(&asked.id);
        if let Some(numbers) = &mut self.numbers
            && numbers.get(&asked.id) == Some(&number)
        {
            numbers.remove(&asked.id);
        }
        if !self.own_grants.is_empty() && self.own_grants.remove(&number).is_some() {
            self.kept -= GRANT;
        }
    }

    /// Bytes that it keeps.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    // ---- batches

    /// Begins a batch, and returns its number.
    pub(super) fn open_batch(&mut self) -> u64 {
        self.batches.insert(self.last, Batch { is_open: true, ..Batch::default() });
        self.last
    }

    /// Notes that all of a batch was read. One without calls is never answered.
    pub(super) fn close_batch(&mut self, batch: u64) {
        if let Some(open) = self.batches.get_mut(&batch) {
            open.is_open = false;
            if open.numbers.is_empty() {
                self.batches.remove(&batch);
            } else if open.is_whole() {
                self.whole.push_back(batch);
            }
        }
    }

    /// The batch that an answer has to wait for.
    pub(in crate::front) fn batch_of(&self, number: u64) -> Option<u64> {
        match self.asked.get(&number)?.place {
            Place::Waiting(batch) => Some(batch),
            Place::Alone | Place::Listed { .. } => None,
        }
    }

    /// Notes an answer that waits for its batch.
    pub(in crate::front) fn answered(&mut self, batch: u64) {
        let Some(waiting) = self.batches.get_mut(&batch) else { return };
        waiting.answered += 1;
        if waiting.is_whole() {
            self.whole.push_back(batch);
        }
    }

    /// Whether there is a batch whose answers are all there.
    pub(super) fn has_whole_batch(&self) -> bool {
        !self.whole.is_empty()
    }

    /// Takes a batch whose answers are all there, in the order of its calls, and gives them their places.
    pub(in crate::front) fn take_whole_batch(&mut self) -> Option<Vec<u64>> {
        let numbers = self.batches.remove(&self.whole.pop_front()?)?.numbers;
        let (first, last) = (numbers.first().copied(), numbers.last().copied());
        for number in &numbers {
            if let Some(asked) = self.asked.get_mut(number) {
                let (is_first, is_last) = (Some(*number) == first, Some(*number) == last);
                asked.place = Place::Listed { is_first, is_last };
            }
        }
        Some(numbers)
    }

    // ---- streams

    /// Grants the first items of a stream that the peer receives.
    pub(in crate::front) fn grant(&mut self, id: u64, delivered: bool) {
        if self.grants_of(delivered).insert(id, Grant::default()).is_none() {
            self.kept += GRANT;
            self.said.push_back(Said::Credit(Credit { id, delivered, items: ITEMS, bytes: BYTES }));
        }
    }

    /// Notes that the peer has read an item.
    pub(in crate::front) fn took(&mut self, id: u64, delivered: bool, len: usize) {
        let Some(grant) = self.grants_of(delivered).get_mut(&id) else { return };
        grant.items += 1;
        grant.bytes += len as u64;
        if grant.items >= ITEMS / 2 || grant.bytes >= BYTES / 2 {
            let Grant { items, bytes } = std::mem::take(grant);
            self.said.push_back(Said::Credit(Credit { id, delivered, items, bytes }));
        }
    }

    /// Notes that a call whose body is bytes is delivered to the peer.
    pub(in crate::front) fn deliver_bytes(&mut self, id: u64) {
        if self.of_bytes.insert(id) {
            self.kept += OF_BYTES;
        }
    }

    /// Forgets a delivered call, now that the peer answers it. Whether its body was bytes.
    pub(super) fn end_delivered(&mut self, id: u64) -> bool {
        if !self.grants.is_empty() && self.grants.remove(&id).is_some() {
            self.kept -= GRANT;
        }
        let was_bytes = self.of_bytes.remove(&id);
        if was_bytes {
            self.kept -= OF_BYTES;
        }
        was_bytes
    }

    fn grants_of(&mut self, delivered: bool) -> &mut BTreeMap<u64, Grant> {
        if delivered { &mut self.grants } else { &mut self.own_grants }
    }

    // ---- in the peer's place

    /// Refuses a delivered call whose body has no words in JSON.
    pub(in crate::front) fn refuse(&mut self, id: u64, encoding: Encoding) {
        self.said.push_back(Said::Refusal(id, encoding));
    }

    /// The next message in the peer's place.
    pub(super) fn say<F>(&mut self) -> Option<Message<F>> {
        Some(match self.said.pop_front()? {
            Said::Credit(credit) => Message::Credit(credit),
            Said::Refusal(id, encoding) => {
                let text = format!("the service takes json and bytes, not {encoding}");
                Message::Error(Failure::new(id, ErrorCode::UNSUPPORTED_ENCODING, text))
            }
        })
    }
}

/// The bytes that a call is charged for, besides what every call is.
fn charge(id: &[u8]) -> usize {
    ASKED + 2 * id.len()
}

/// The id of an answer to what has none.
pub(super) const NULL: &[u8] = b"null";
/// Bytes of a call here: its row, its place in a batch, and the row that finds it by its id.
const ASKED: usize = 192;
/// Bytes of a delivered call that is remembered.
const OF_BYTES: usize = 32;
/// Bytes of a stream.
const GRANT: usize = 64;
/// Items that a peer is sent before it has read any, and the bytes of their bodies.
const ITEMS: u32 = 64;
const BYTES: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_costs_nothing() {
        let mut desk = Desk::default();
        let (first, second) = (desk.ask(b"7", None), desk.ask(b"7", None));
        assert_eq!(desk.find(b"7"), Some(second));
        desk.forget(first);
        assert_eq!(desk.find(b"7"), Some(second));
        desk.forget(second);
        assert_eq!((desk.find(b"7"), desk.kept()), (None, 0));
    }

    #[test]
    fn a_batch_is_whole_once_it_was_read_and_answered() {
        let mut desk = Desk::default();
        let batch = desk.open_batch();
        let numbers = [desk.ask(b"1", Some(batch)), desk.ask(b"2", Some(batch))];
        assert_eq!(desk.batch_of(numbers[0]), Some(batch));
        numbers.iter().for_each(|_| desk.answered(batch));
        assert_eq!(desk.take_whole_batch(), None, "more of it may come");
        desk.close_batch(batch);
        assert_eq!(desk.take_whole_batch().as_deref(), Some(&numbers[..]));
        let place = |number| desk.asked(number).unwrap().place;
        assert_eq!(place(numbers[0]), Place::Listed { is_first: true, is_last: false });
        assert_eq!(place(numbers[1]), Place::Listed { is_first: false, is_last: true });
        assert!(desk.batches.is_empty() && desk.whole.is_empty());
    }

    #[test]
    fn a_peer_is_granted_more_as_it_reads() {
        let mut desk = Desk::default();
        desk.grant(5, true);
        (0..ITEMS / 2).for_each(|_| desk.took(5, true, 10));
        let said: Vec<_> = std::iter::from_fn(|| desk.say::<ipc_protocol::NoFd>()).collect();
        let credit = |items, bytes| Message::Credit(Credit { id: 5, delivered: true, items, bytes });
        assert_eq!(said, [credit(ITEMS, BYTES), credit(ITEMS / 2, 10 * u64::from(ITEMS / 2))]);
        desk.end_delivered(5);
        assert_eq!(desk.kept(), 0);
    }
}
