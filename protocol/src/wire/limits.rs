//! Limits that are part of the wire: both sides must agree on them, so a configuration may only lower the few that welcome states.

/// Bytes of the fixed header that starts each frame.
pub const HEADER_LEN: usize = 32;
/// Most bytes of a body in a frame (1 MiB), as with NATS and ubus. A broker may be configured for less.
pub const MAX_BODY: u32 = 1_048_576;
/// Most bytes of a routing section: two names of 255 bytes, 64 groups and the trace context take less than 1 KiB of it.
pub const MAX_ROUTING: u16 = 4_096;
/// Most bytes of the routing section that a client gives a call or an event. The rest of [`MAX_ROUTING`] is the broker's: the stamp of a caller
/// in [`MAX_GROUPS`] groups takes 291 bytes, and what it adds eleven more. Without this reserve, a caller
/// could make the broker deliver frames that their receiver must treat as a violation.
pub const MAX_CALL_ROUTING: u16 = 3_070;
/// Bytes that the broker may add to a routing section besides the stamp: two when it splits a target (the prefix of `METHOD`, less
/// the dot), eleven when it numbers an event (`SEQUENCE`).
pub(crate) const ADDED: u16 = 11;
/// Most bytes of a service name, a topic or a pattern.
pub const MAX_NAME: usize = 255;
/// Most bytes of the sentence in an error or goodbye; longer ones are cut at a character boundary by their sender.
pub const MAX_TEXT: usize = 2_048;
/// Supplementary groups stamped on a delivered call. If the caller has more, the rest is left out, and the identity says so.
pub const MAX_GROUPS: usize = 64;
/// Descriptors that may travel with one frame. SCM_MAX_FD is 253 (unix(7)); 16 keep the control buffer on the stack.
pub const MAX_FDS: usize = 16;
/// Longest deadline of a call, in milliseconds (1 h). A broker may be configured for less.
pub const MAX_TIMEOUT_MS: u32 = 3_600_000;
/// Deadline of a call that names none, in milliseconds (30 s), unless welcome states another.
pub const DEFAULT_TIMEOUT_MS: u32 = 30_000;
/// Bytes of the longest path a stream socket may have: `sun_path` holds 108 with its NUL, and `.dgram` must still fit.
pub const MAX_SOCKET_PATH: usize = 107 - DATAGRAM_SUFFIX.len();
/// What is appended to the path of the stream socket to get that of the datagram socket.
pub const DATAGRAM_SUFFIX: &str = ".dgram";
/// Most bytes of a datagram, header included: what one datagram holds at the default SO_SNDBUF (unix(7): 212,992 less overhead),
/// rounded down to leave room for other kernels' settings.
pub const MAX_DATAGRAM: usize = 65_536;
