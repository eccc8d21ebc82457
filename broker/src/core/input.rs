//! Inputs: everything that can happen to the router.

use ipc_protocol::{Header, Kind, RoutingError, Violation, wire::Message};

use super::{datagrams::Datagram, ids::PeerId, limits::Limits};

/// One thing that happened. `F` is the type of a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a, F> {
    /// A peer sent a message.
    Message {
        /// Who.
        from: PeerId,
        /// What. It is looked at where it lies; what is kept or passed on is taken out.
        message: &'a mut Message<F>,
    },
    /// A frame has begun that is longer than what a connection may hold unasked. The answer is [`Output::Assemble`],
    /// [`Output::Skip`] or [`Output::Park`](super::Output::Park).
    ///
    /// [`Output::Assemble`]: super::Output::Assemble
    /// [`Output::Skip`]: super::Output::Skip
    Begun {
        /// Who sends it.
        from: PeerId,
        /// What its header says, and how much of it is there.
        frame: Begun,
    },
    /// A frame that was left out has gone by.
    Skipped {
        /// Who sent it.
        from: PeerId,
    },
    /// A peer called a service or a method that cannot exist.
    Misnamed {
        /// Who.
        from: PeerId,
        /// Its number of the call.
        id: u64,
        /// What is wrong with the name.
        error: RoutingError,
    },
    /// What was read of a peer ends within a frame.
    Partial {
        /// Who sends it.
        from: PeerId,
        /// Bytes that the front holds of it.
        held: usize,
    },
    /// A peer broke the rules of its dialect.
    Violation {
        /// Who.
        from: PeerId,
        /// How.
        violation: Violation,
    },
    /// A socket has taken items, as far as it does for now.
    Written {
        /// Whose.
        to: PeerId,
        /// What these items cost.
        cost: usize,
    },
    /// A peer has finished sending. It may still wait for answers.
    Ended {
        /// Who.
        from: PeerId,
    },
    /// A connection is closed.
    Closed {
        /// Whose.
        peer: PeerId,
    },
    /// A datagram arrived.
    Datagram(Datagram<F>),
    /// A datagram was cut short, or held no frame.
    DatagramMalformed,
    /// The socket of a datagram's sender did not take the answer.
    DatagramUnanswered,
    /// It is time: see [`Router::next_deadline`](super::Router::next_deadline).
    Deadline,
    /// Other limits are in force from now on. What is stored stays.
    Limits(Box<Limits>),
    /// The broker was told to stop: calls that run may finish.
    Drain,
    /// The broker stops now.
    Stop,
}

/// The header of a frame that is too long to be read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Begun {
    /// What it will be.
    pub kind: Kind,
    /// The sender's number of the call, or the number of the call that it ends.
    pub id: u64,
    /// Milliseconds that a call has; 0 means the default.
    pub timeout_ms: u32,
    /// Bytes of its body.
    pub body_len: u32,
    /// Bytes of the memory that it is put together in.
    pub len: usize,
    /// Bytes that the front holds of it.
    pub held: usize,
}

impl Begun {
    /// What a header says of a frame of which the front holds `held` bytes.
    #[must_use]
    pub fn new(header: &Header, held: usize) -> Self {
        Self {
            kind: header.kind,
            id: header.id,
            timeout_ms: header.time_ms,
            body_len: header.body_len,
            len: header.frame_len(),
            held,
        }
    }
}
