//! The Model Context Protocol, as much of it as both sides need: the verb `mcp`, which is a server of it, and `serve --mcp`, which is a
//! client. Knows no bus.

pub(crate) mod message;
pub(crate) mod naming;
pub(crate) mod version;
