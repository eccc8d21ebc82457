//! The verbs, one file each.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod help;
pub(crate) mod limits;
pub(crate) mod lines;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod man;
pub(crate) mod mcp;
pub(crate) mod peers;
pub(crate) mod ping;
pub(crate) mod publish;
pub(crate) mod rpc;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod subscribe;
pub(crate) mod topics;
pub(crate) mod wait;
