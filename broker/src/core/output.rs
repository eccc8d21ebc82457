//! Outputs: everything that the router can want done.

use ipc_protocol::{Goodbye, wire::Message};

use super::{datagrams::ReturnAddress, event::Event, ids::PeerId, item::Item};

/// Takes what the router wants done, in order. A plain list does.
pub trait Outputs<F> {
    /// Takes the next thing.
    fn push(&mut self, output: Output<F>);
}

impl<F> Outputs<F> for Vec<Output<F>> {
    fn push(&mut self, output: Output<F>) {
        Self::push(self, output);
    }
}

/// One thing that the router wants done. `F` is the type of a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<F> {
    /// Queue an item for a peer. It is charged until [`Input::Written`](super::Input::Written) gives its cost back.
    Send {
        /// To whom.
        to: PeerId,
        /// What.
        item: Item<F>,
    },
    /// Answer the sender of a datagram. If its socket does not take the answer, say
    /// [`Input::DatagramUnanswered`](super::Input::DatagramUnanswered).
    SendDatagram {
        /// To whom.
        to: ReturnAddress,
        /// What.
        message: Message<F>,
        /// What it may cost the others.
        precedence: Precedence,
    },
    /// The frame that has begun may be put together: read on.
    Assemble {
        /// Whose.
        peer: PeerId,
    },
    /// The frame that has begun is left out: skip its bytes, and read on.
    Skip {
        /// Whose.
        peer: PeerId,
    },
    /// The frame that has begun waits for room: read nothing more from the connection until one of the other two comes.
    Park {
        /// Whose.
        peer: PeerId,
    },
    /// Say goodbye, close the connection, and report [`Input::Closed`](super::Input::Closed).
    Cut {
        /// The peer.
        peer: PeerId,
        /// The last frame to send, if the socket takes it at once.
        goodbye: Goodbye,
    },
    /// Close the connection, on which nothing is left to be said, and report [`Input::Closed`](super::Input::Closed).
    Close {
        /// The peer.
        peer: PeerId,
    },
    /// Write a line to the log.
    Log(Event),
}

/// Which answers to datagrams go first. They wait in one send buffer, which all receivers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// For a user who may call.
    Answer,
    /// For a user who may not: sent only while the send buffer is nearly empty, so that it takes nothing from those who may.
    Denial,
}
