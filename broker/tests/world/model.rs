//! The model: a naive broker that keeps no accounts, queues, tables or wheels, and says what the router owes after each step.
//!
//! ```text
//! directory   who offers which name                     \
//! model       who is there, who works on what,           > what must follow from an input, compared with the router's outputs
//!             what a service has just answered          /
//! ledger      each call: what it carries, where it went, what its caller was told
//! ```
//!
//! What depends on how the router counts (whether a quota is full, which peer a full one cuts) is the router's to decide. The model takes
//! its word for that, and holds it to the consequences.

use std::collections::BTreeSet;

use ipc_protocol::{ErrorCode, Failure, Message, Retry, control};
use ipcd::core::{Input, Limits, Output, PeerId};

use super::{
    Fake, OWNER, Peer, Ticket, Token, World,
    directory::Directory,
    ledger::{Asked, Ended, Sender},
};

/// What the model remembers beside the [`Directory`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) directory: Directory,
    /// Connections that are closed, or are to be closed: nothing may be sent to them.
    left: BTreeSet<u64>,
    /// Whether a peer is cut in this step: its names are free only after it.
    cuts: bool,
    /// What services have answered in this turn, to be passed on before it is over, those of one caller in order.
    promised: Vec<(Ticket, Sender, Promise)>,
    /// The last broker-wide request: until then no peer may be told that the broker stops.
    phase: Phase,
}

/// The end that a call must have, because its service has answered.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    /// This answer, or the error that says that it is too long.
    Answer(Message),
    /// The error that says that it is too long.
    TooLong,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Serving,
    Draining,
    Stopped,
}

impl Model {
    /// Looks at an input before the router does.
    pub(crate) fn note_input(&mut self, input: &Input<'_, Token>) {
        match input {
            Input::Closed { peer } => drop(self.left.insert(peer.to_bits())),
            Input::Drain => self.phase = self.phase.max(Phase::Draining),
            Input::Stop => self.phase = Phase::Stopped,
            _ => {}
        }
    }

    /// Whether the broker takes nothing any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self) {
        self.cuts = false;
    }

    /// Checks that the router has nothing more to say to those who have left. It may cut a peer because of an item, and send the
    /// item afterwards; what carries that out drops it.
    pub(crate) fn check_outputs(&mut self, outputs: &[Output<Token>]) {
        let mut cut_just_now = None;
        self.cuts |= outputs.iter().any(|output| matches!(output, Output::Cut { .. }));
        for output in outputs {
            let last_cut = cut_just_now.take();
            match output {
                Output::Send { to, .. } if last_cut == Some(*to) => {}
                Output::Send { to: peer, .. }
                | Output::Assemble { peer }
                | Output::Skip { peer }
                | Output::Park { peer } => self.check_is_there(*peer, output),
                Output::Cut { peer, .. } | Output::Close { peer } => {
                    // A broker that stops cuts everyone, and may have cut one just now.
                    assert!(self.left.insert(peer.to_bits()) || self.phase == Phase::Stopped, "twice: {output:?}");
                    cut_just_now = Some(*peer);
                }
                Output::SendDatagram { .. } | Output::Log(_) => {}
                other => panic!("the model does not know {other:?}"),
            }
        }
    }

    fn check_is_there(&self, peer: PeerId, output: &Output<Token>) {
        assert!(!self.left.contains(&peer.to_bits()), "{peer:?} has left, but: {output:?}");
    }

    /// A service has answered a call that its caller waits for.
    pub(crate) fn promise(&mut self, ticket: Ticket, caller: Sender, promise: Promise) {
        self.promised.push((ticket, caller, promise));
    }

    /// Checks what a caller is told against what the model knows.
    pub(crate) fn check_end(&mut self, ended: &Ended<'_>, limits: &Limits, is_open: impl Fn(Peer) -> bool) {
        let what = ended.what;
        if let Some(at) = self.promised.iter().position(|(ticket, ..)| *ticket == ended.ticket) {
            let (_, caller, promise) = self.promised.remove(at);
            let earlier = self.promised[..at].iter().find(|(_, other, _)| *other == caller);
            assert!(earlier.is_none(), "overtakes {earlier:?}: {what:?}");
            return promise.check(ended, limits);
        }
        assert!(!ended.is_answered, "its service has answered before: {what:?}");
        let Message::Error(Failure { code, .. }) = ended.message else { return };
        let code = *code;
        match code {
            ErrorCode::CANCELLED => assert!(ended.is_cancelled, "no one cancelled {what:?}"),
            ErrorCode::SERVICE_GONE => {
                assert!(ended.delivered_to.is_none_or(|to| !is_open(to)), "its service is still there: {what:?}");
            }
            ErrorCode::BROKER_LOST => assert_eq!(self.phase, Phase::Stopped, "the broker goes on: {what:?}"),
            ErrorCode::UNAVAILABLE => assert_ne!(self.phase, Phase::Serving, "the broker serves: {what:?}"),
            ErrorCode::NAME_TAKEN => {
                // The error itself may have filled the quota for which its holder was cut.
                let is_taken = self.cuts || self.directory.is_taken(&ended.request.asked);
                assert!(is_taken, "the name is free: {what:?}");
            }
            ErrorCode::NO_METHOD => assert_eq!(ended.request.service.split('.').next(), Some("ipc"), "{what:?}"),
            ErrorCode::DENIED => {
                let asked = &ended.request.asked;
                let is_brokers = matches!(asked, Asked::Register { name: Some(name), .. } | Asked::Lock { name, .. }
                    if name.starts_with("ipc"));
                assert!(![0, OWNER].contains(&ended.uid) || is_brokers, "may do everything: {what:?}");
            }
            _ => {}
        }
        if ![0, OWNER].contains(&ended.uid) {
            let is_known = matches!(code, ErrorCode::DENIED | ErrorCode::TOO_LARGE | ErrorCode::DEADLINE);
            assert!(is_known, "a stranger learns {code}: {what:?}");
        }
    }
}

impl Promise {
    fn check(&self, ended: &Ended<'_>, limits: &Limits) {
        let is_long = match self {
            Self::Answer(Message::Reply(sent)) => sent.body.len() as u64 > limits.body_bytes || ended.is_datagram,
            Self::Answer(_) => false,
            Self::TooLong => true,
        };
        match (self, ended.message) {
            (_, Message::Error(Failure { code: ErrorCode::CANCELLED, .. })) if ended.is_cancelled => {} // in the same turn
            (_, Message::Error(Failure { code: ErrorCode::TOO_LARGE, retry: Retry::Unknown, .. })) if is_long => {}
            (Self::Answer(Message::Reply(sent)), Message::Reply(told)) => {
                let (sent, told) = ((sent.encoding, &*sent.body), (told.encoding, &*told.body));
                assert!(sent == told, "{told:?} is not the reply {sent:?} of {:?}", ended.what);
            }
            (Self::Answer(Message::Error(sent)), Message::Error(told)) => {
                let code = if is_for_services(sent.code) { sent.code } else { ErrorCode::INTERNAL };
                assert_eq!((told.code, told.retry), (code, code.retry()), "the error of {:?}", ended.what);
            }
            (promised, told) => panic!("{promised:?} became {told:?}: {:?}", ended.what),
        }
    }
}

/// Whether a service may say this (docs/protocol.md, "Errors"). What the table does not know, it may.
fn is_for_services(code: ErrorCode) -> bool {
    matches!(code.0, 1 | 3 | 4 | 5 | 7 | 10 | 14 | 16 | 18 | 19) || !(1..=20).contains(&code.0)
}

impl World {
    /// Checks that the router has done everything that follows from the last input.
    pub(super) fn assert_model(&mut self) {
        for (ticket, _, promise) in std::mem::take(&mut self.model.promised) {
            let is_awaited = self.ledger.is_awaited(ticket) == Some(true);
            assert!(!is_awaited, "{promise:?} is not passed on: {}", self.ledger.describe(ticket));
        }
        self.assert_told();
        let mut stored: usize = self.fakes.iter().filter(|fake| fake.is_open()).map(Fake::unread).sum();
        for ticket in self.ledger.waiting().filter(|ticket| self.has_come(*ticket)) {
            let request = self.ledger.request(ticket);
            match self.ledger.goes_to(ticket) {
                Some(("ipc", "wait")) => self.assert_waits_for_something(ticket, &request.body),
                Some(("ipc", "lock")) => self.assert_waits_for_lock(ticket),
                Some((service, _)) if service != "ipc" => {
                    stored += request.body.len();
                    self.assert_no_room(ticket, service);
                }
                _ => panic!("can be answered at once: {}", self.ledger.describe(ticket)),
            }
        }
        assert!(stored as u64 <= self.bytes_held(), "{stored} bytes are stored, {} are charged", self.bytes_held());
    }

    /// Whether all of a call has reached the router, as far as the world can know.
    fn has_come(&self, ticket: Ticket) -> bool {
        let is_heard = |peer: Peer| {
            let fake = &self.fakes[peer.0];
            !fake.parked && !fake.ended && fake.rest.is_empty() && fake.kernel.is_empty() && !fake.holds
        };
        match self.ledger.sender(ticket) {
            Sender::Peer(peer) => self.ledger.has_arrived(ticket) && is_heard(peer),
            Sender::Datagram => true,
        }
    }

    /// Checks that services have received a cancel of exactly the calls that no caller waits for.
    fn assert_told(&self) {
        for (ticket, told) in self.fakes.iter().flat_map(Fake::owed) {
            let is_awaited = self.ledger.is_awaited(ticket);
            assert!(
                is_awaited.is_none_or(|awaited| awaited != told),
                "{ticket:?}: awaited {is_awaited:?}, cancelled {told}: {}",
                self.ledger.describe(ticket)
            );
        }
    }

    /// Checks that no service could take a call that waits. A peer with several registrations is left out: which of them a call
    /// fills is not modelled.
    fn assert_no_room(&self, ticket: Ticket, service: &str) {
        for (peer, window) in self.model.directory.lone_offers(service) {
            let fake = &self.fakes[peer.0];
            let reads = (fake.unread_as_told() as u64) < self.router.limits().unread_soft_bytes;
            let has_room = fake.is_open() && !fake.ended && reads && fake.owes() < window;
            assert!(!has_room, "{peer:?} has room for {}", self.ledger.describe(ticket));
        }
    }

    fn assert_waits_for_something(&self, ticket: Ticket, body: &[u8]) {
        let wait: control::Wait = serde_json::from_slice(body).expect("what waits was understood");
        let name = wait.name.as_str();
        let parent = name.rsplit_once('.').map(|(parent, _)| parent).filter(|_| wait.target);
        let is_there = [Some(name), parent].into_iter().flatten().any(|name| self.model.directory.has(name));
        assert_eq!(is_there, wait.gone, "waits for what is so: {}", self.ledger.describe(ticket));
    }
}
