//! One side's end of a call with streams: what it may send, what it was sent and hasn't taken, and what it allows the other side.

use std::collections::VecDeque;

use ipc_protocol::{Credit, Element, End, ErrorCode, Retry, Streams};

use super::slots::Serial;
use crate::{error::Error, request::Response};

/// Items that the other side may send before the program takes any, and bytes of their bodies.
pub(crate) const WINDOW_ITEMS: u32 = 256;
pub(crate) const WINDOW_BYTES: u64 = 256 * 1024;

/// A call with streams, as one side has it.
#[derive(Debug)]
pub(super) struct Flow {
    /// The number of the call in frames, and whether it is the broker's.
    pub(super) number: u64,
    pub(super) delivered: bool,
    /// What the thread that sends is woken for.
    pub(super) sender: Serial,
    /// Whether this side sends at all, and has not ended it.
    sends: bool,
    /// Whether an item was sent or has come.
    pub(super) has_flowed: bool,
    items: u64,
    /// Below zero after an item that was longer than what was left.
    bytes: i64,
    arrived: VecDeque<Response>,
    /// What the program has taken and the other side wasn't allowed again.
    taken: Allowance,
    /// How the items of the other side end, once they do.
    end: Option<Result<(), Error>>,
    /// Why the call has ended, on the side of the service.
    over: Option<Error>,
    /// Why nothing more can be sent, on the side of the caller.
    stopped: Option<Error>,
}

/// Items and bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    items: u32,
    bytes: u64,
}

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum Flowed {
    Item(Response),
    /// There are no more: the items are complete, or why not.
    End(Result<(), Error>),
}

impl Flow {
    /// The flow of a call whose own side sends if `sends`.
    pub(super) fn new(number: u64, delivered: bool, sender: Serial, sends: bool) -> Self {
        Self {
            number,
            delivered,
            sender,
            sends,
            has_flowed: false,
            items: 0,
            bytes: 0,
            arrived: VecDeque::new(),
            taken: Allowance::default(),
            end: None,
            over: None,
            stopped: None,
        }
    }

    /// The first allowance, if the other side sends.
    pub(super) fn first_credit(&self) -> Credit {
        self.credit(WINDOW_ITEMS, WINDOW_BYTES)
    }

    /// An allowance of nothing: it shows that this side is there.
    pub(super) fn sign(&self) -> Credit {
        self.credit(0, 0)
    }

    pub(super) fn arrive(&mut self, item: Element) {
        let response = Response { encoding: item.encoding, body: item.body.into_bytes() };
        self.has_flowed = true;
        self.arrived.push_back(response.detached());
    }

    pub(super) fn allow(&mut self, credit: Credit) {
        self.items = self.items.saturating_add(u64::from(credit.items));
        self.bytes = self.bytes.saturating_add_unsigned(credit.bytes);
    }

    pub(super) fn end(&mut self, end: End) {
        self.end = Some(match end.error {
            None => Ok(()),
            Some(code) => {
                let text = if end.text.is_empty() { "the caller has no more items".to_owned() } else { end.text };
                Err(Error::new(code, text).with_retry(Retry::Unknown).with_app_code(end.app_code))
            }
        });
    }

    /// The call is over for the service.
    pub(super) fn cancel(&mut self, reason: ErrorCode, delivered: Option<u64>) {
        let text = match reason {
            ErrorCode::CANCELLED => "the caller has stopped waiting, or has gone",
            ErrorCode::DEADLINE => "neither side was heard for too long",
            ErrorCode::BUSY => "what was sent wasn't read in time",
            _ => "the broker has ended the call",
        };
        self.over = Some(Error::new(reason, text).with_retry(Retry::Unknown).with_delivered(delivered));
    }

    /// The call has ended for the caller, who may still take what has arrived.
    pub(super) fn stop(&mut self, error: Error) {
        self.stopped = Some(error);
    }

    /// Takes the next item, and says what the other side is to be allowed in its place.
    pub(super) fn take(&mut self) -> (Option<Flowed>, Option<Credit>) {
        if let Some(error) = &self.over {
            return (Some(Flowed::End(Err(error.clone()))), None);
        }
        let Some(item) = self.arrived.pop_front() else {
            return (self.end.clone().map(Flowed::End), None);
        };
        self.taken.items += 1;
        self.taken.bytes += item.body.len() as u64;
        let is_due = self.taken.items >= WINDOW_ITEMS / 2 || self.taken.bytes >= WINDOW_BYTES / 2;
        let credit = (is_due && self.end.is_none()).then(|| {
            let taken = std::mem::take(&mut self.taken);
            self.credit(taken.items, taken.bytes)
        });
        (Some(Flowed::Item(item)), credit)
    }

    /// Whether an item may be sent now. Takes its place if so.
    pub(super) fn spend(&mut self, len: usize) -> bool {
        if self.items == 0 || self.bytes <= 0 {
            return false;
        }
        self.has_flowed = true;
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub_unsigned(len as u64);
        true
    }

    /// Why nothing more can be sent on this side's own account.
    pub(super) fn refusal(&self) -> Option<Error> {
        if let Some(error) = self.over.as_ref().or(self.stopped.as_ref()) {
            return Some(error.clone());
        }
        let text = "this call has no stream in this direction, or it was finished";
        (!self.sends).then(|| Error::new(ErrorCode::USAGE, text).with_retry(Retry::Unknown))
    }

    /// This side sends no more. False if it already didn't.
    pub(super) fn finish(&mut self) -> bool {
        std::mem::replace(&mut self.sends, false)
    }

    fn credit(&self, items: u32, bytes: u64) -> Credit {
        Credit { id: self.number, delivered: self.delivered, items, bytes }
    }
}

/// Which streams this side of a call sends in.
pub(super) fn sends(streams: Streams, delivered: bool) -> bool {
    if delivered { streams.reply } else { streams.request }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::Encoding;

    use super::*;

    fn flow() -> Flow {
        Flow::new(3, false, Serial(4), true)
    }

    fn item(len: usize) -> Element {
        Element { id: 3, delivered: false, encoding: Encoding::BYTES, body: vec![0; len].into() }
    }

    #[test]
    fn an_item_needs_credit_for_itself_and_its_bytes() {
        let mut flow = flow();
        assert!(!flow.spend(0));
        flow.allow(Credit { id: 3, delivered: false, items: 3, bytes: 10 });
        assert!(flow.spend(4));
        assert!(flow.spend(100)); // the last one may be longer
        assert!(!flow.spend(0));
        flow.allow(Credit { id: 3, delivered: false, items: 0, bytes: 95 });
        assert!(flow.spend(0) && !flow.spend(0));
    }

    #[test]
    fn credit_is_given_back_as_items_are_taken() {
        let mut flow = flow();
        (0..WINDOW_ITEMS).for_each(|_| flow.arrive(item(2)));
        let credits: Vec<_> = (0..WINDOW_ITEMS).filter_map(|_| flow.take().1).collect();
        assert_eq!(
            credits.iter().map(|credit| (credit.items, credit.bytes)).collect::<Vec<_>>(),
            [(128, 256), (128, 256)]
        );
        assert!(flow.take().0.is_none());
    }

    #[test]
    fn what_has_arrived_is_taken_before_the_end() {
        let mut flow = flow();
        flow.arrive(item(1));
        flow.end(End::complete(3));
        assert!(matches!(flow.take().0, Some(Flowed::Item(_))));
        assert!(matches!(flow.take().0, Some(Flowed::End(Ok(())))));
    }

    #[test]
    fn a_cancelled_call_takes_and_sends_nothing() {
        let mut flow = flow();
        flow.arrive(item(1));
        flow.cancel(ErrorCode::CANCELLED, Some(7));
        let Some(Flowed::End(Err(error))) = flow.take().0 else { panic!("it goes on") };
        assert_eq!((error.code(), error.delivered()), (ErrorCode::CANCELLED, Some(7)));
        assert_eq!(flow.refusal().unwrap().code(), ErrorCode::CANCELLED);
    }
}
