//! Outputs: everything that the router can ask the server to do.

use ipc_protocol::{Goodbye, wire::Message};

use super::{
    datagrams::ReturnAddress,
    event::Event,
    ids::PeerId,
    item::{Class, Item},
};

/// Receives the router's requests to the server, in order. A `Vec` can be one.
pub trait Outputs<F> {
    /// Takes the next one.
    fn push(&mut self, output: Output<F>);

    /// Takes an [`Output::Send`] of an item that must arrive. Its message is built where it is kept: to move an item a few times takes
    /// as long as all of its routing in between.
    #[inline]
    fn send(&mut self, to: PeerId, cost: usize, message: impl FnOnce() -> Message<F>) {
        self.push(Output::Send { to, item: Item { message: message(), cost, class: Class::Required, lost: 0 } });
    }
}

impl<F> Outputs<F> for Vec<Output<F>> {
    fn push(&mut self, output: Output<F>) {
        Self::push(self, output);
    }
}

/// A request to the server. `F` is the type of a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output<F> {
    /// Queue an item for a peer. It is charged until [`Input::Written`](super::Input::Written) returns its cost.
    Send {
        /// The receiver.
        to: PeerId,
        /// The item.
        item: Item<F>,
    },
    /// Answer the sender of a datagram. If its socket does not take the answer, report
    /// [`Input::DatagramUnanswered`](super::Input::DatagramUnanswered).
    SendDatagram {
        /// The receiver.
        to: ReturnAddress,
        /// The answer.
        message: Message<F>,
        /// Its claim to the shared send buffer.
        precedence: Precedence,
    },
    /// Assemble the frame that has begun: read on, up to what is granted to it. If the frame is longer, report
    /// [`Input::Begun`](super::Input::Begun) again when that has come.
    Assemble {
        /// Its sender.
        peer: PeerId,
        /// Bytes of it that memory is granted for, those that have come among them.
        granted: usize,
    },
    /// Skip the bytes of the frame that has begun, and read on.
    Skip {
        /// Its sender.
        peer: PeerId,
    },
    /// Let the frame that has begun wait: read nothing more from the connection until `Assemble` or `Skip` follows.
    Park {
        /// Its sender.
        peer: PeerId,
    },
    /// Say goodbye, close the connection, and report [`Input::Closed`](super::Input::Closed).
    Cut {
        /// The peer.
        peer: PeerId,
        /// The last message, to be sent if the socket takes it at once.
        goodbye: Goodbye,
    },
    /// Close the connection without a goodbye, and report [`Input::Closed`](super::Input::Closed).
    Close {
        /// The peer.
        peer: PeerId,
    },
    /// Give back memory that is kept for reuse: much of it was in use, and hardly any is now.
    GiveBack,
    /// Write a line to the log.
    Log(Event),
}

/// The precedence among answers to datagrams, which share one send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// For a user who may call.
    Answer,
    /// For a user who may not: sent only while the send buffer is nearly empty, so that it takes nothing from those who may.
    Denial,
}
