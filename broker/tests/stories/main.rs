//! Stories of the router, run in the [`world`]: one behaviour each, named by its outcome.
#![forbid(unsafe_code)]

#[path = "../world/mod.rs"]
mod world;

mod assembly;
mod calls;
mod datagrams;
mod direct_calls;
mod endings;
mod events;
mod handover;
mod hello;
mod inspection;
mod locks;
mod one_way;
mod policy;
mod queues;
mod quotas;
mod registration;
mod reload;
mod shutdown;
mod targets;
mod unread;
mod waits;
