//! Front: turns what a dialect says into what the core takes. What the core answers is encoded by the outbox, or here for datagrams.

pub(crate) mod datagram;
pub(crate) mod native;
