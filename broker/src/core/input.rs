//! Inputs: everything that can happen to the router.

use ipc_protocol::{ErrorCode, Flags, Header, Kind, RoutingError, Violation, wire::Message};

use super::{datagrams::Datagram, ids::PeerId, limits::Limits};

/// One thing that happened. `F` is the type of a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a, F> {
    /// A peer has sent a message.
    Message {
        /// The sender.
        from: PeerId,
        /// The message, from which the router takes what it keeps or passes on.
        message: &'a mut Message<F>,
    },
    /// A frame has begun that is longer than a connection may hold without asking, or all that was granted to it so far has come. The
    /// answer is [`Output::Assemble`],
    /// [`Output::Skip`] or [`Output::Park`](super::Output::Park).
    ///
    /// [`Output::Assemble`]: super::Output::Assemble
    /// [`Output::Skip`]: super::Output::Skip
    Begun {
        /// The sender.
        from: PeerId,
        /// Its header, and how much of it has arrived.
        frame: Begun,
    },
    /// A skipped frame has ended.
    Skipped {
        /// The sender.
        from: PeerId,
    },
    /// A peer has called a service or a method, or published on a topic, with an impossible name.
    Misnamed {
        /// The caller.
        from: PeerId,
        /// The caller's number for the call, or the publisher's for the event.
        id: u64,
        /// What is wrong with the name.
        error: RoutingError,
    },
    /// A peer has sent what its dialect can't read, and goes on.
    Malformed {
        /// The peer.
        from: PeerId,
        /// The number under which it is refused, in one sequence with the peer's calls.
        id: u64,
        /// The error that its dialect has for that.
        code: ErrorCode,
        /// What is wrong with it.
        text: String,
    },
    /// The front keeps this much for the calls of a peer, besides its messages: ids that its dialect has for them.
    Kept {
        /// The peer.
        by: PeerId,
        /// Bytes in all.
        bytes: usize,
    },
    /// The bytes read from a peer end within a frame.
    Partial {
        /// The sender.
        from: PeerId,
        /// Bytes of the frame that the front holds.
        held: usize,
    },
    /// A peer has broken the rules of its dialect.
    Violation {
        /// The peer.
        from: PeerId,
        /// The rule.
        violation: Violation,
    },
    /// A socket has taken as much as it does for now.
    Written {
        /// The peer at its other end.
        to: PeerId,
        /// The cost of the items that it took completely.
        cost: usize,
    },
    /// Of what was written to a socket, its peer has not read this much. Unlike what the socket does not take, this is not told at once.
    Sunk {
        /// The peer at its other end.
        to: PeerId,
        /// Memory that the kernel holds for it, in bytes.
        bytes: usize,
        /// Whether the peer has read nothing for a while.
        is_stuck: bool,
    },
    /// Events for a peer that is behind were dropped.
    Shed {
        /// The peer.
        to: PeerId,
        /// What was dropped.
        shed: Shed,
    },
    /// A peer has finished sending. It may still wait for answers.
    Ended {
        /// The peer.
        from: PeerId,
    },
    /// A peer reads nothing any more, and all that it has sent was read.
    Deaf {
        /// The peer.
        from: PeerId,
    },
    /// A connection is closed.
    Closed {
        /// The peer at its other end.
        peer: PeerId,
    },
    /// A datagram arrived.
    Datagram(Datagram<F>),
    /// A datagram was cut short, or not a frame.
    DatagramMalformed,
    /// The socket of a datagram's sender did not take the answer.
    DatagramUnanswered,
    /// The moment of [`Router::next_deadline`](super::Router::next_deadline) has come.
    Deadline,
    /// New limits are in force from now on. What is stored stays.
    Limits(Box<Limits>),
    /// The broker stops once running calls have finished.
    Drain,
    /// The broker stops now, and running calls end.
    Stop,
}

/// Events that were dropped before a socket took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// What they cost.
    pub cost: usize,
    /// Their number.
    pub events: u64,
    /// Whether their peer is to be cut, because nothing of its subscription may be dropped.
    pub cut: bool,
}

impl Shed {
    /// Adds what was dropped after it.
    #[inline]
    pub fn add(&mut self, more: Self) {
        self.cost += more.cost;
        self.events += more.events;
        self.cut |= more.cut;
    }
}

/// The header of a frame that is too long to be read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Begun {
    /// The kind of the frame.
    pub kind: Kind,
    /// The sender's number for the call, or the number of the call that it ends.
    pub id: u64,
    /// The timeout of a call in milliseconds. 0 means the default.
    pub timeout_ms: u32,
    /// The length of its body.
    pub body_len: u32,
    /// Whether the number is the broker's, of a delivered call, where the kind leaves that open.
    pub delivered: bool,
    /// The memory that its assembly needs, in bytes.
    pub len: usize,
    /// Bytes of it that the front holds.
    pub held: usize,
}

impl Begun {
    /// The beginning of a frame with this header, of which the front holds `held` bytes.
    #[must_use]
    pub fn new(header: &Header, held: usize) -> Self {
        Self {
            kind: header.kind,
            id: header.id,
            timeout_ms: header.time_ms,
            body_len: header.body_len,
            delivered: header.flags.contains(Flags::DELIVERED),
            len: header.frame_len(),
            held,
        }
    }
}
