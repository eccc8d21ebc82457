//! The last delivered call's routing section: most callers repeat themselves, and a section that was read once is not read again.

use bytes::Bytes;
use ipc_protocol::{Call, Flags, Frame, Kind, Message, Reply, Routing, Streams, Violation};

/// What was read of the last section, in memory of its own.
#[derive(Debug, Default)]
pub(super) struct LastCall {
    section: Bytes,
    caller: Bytes,
    routing: Routing,
}

impl LastCall {
    /// Decodes a frame.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub(super) fn decode(&mut self, mut frame: Frame) -> Result<Message, Violation> {
        match frame.header.kind {
            Kind::CALL => {}
            // The other frame that comes often, and mostly has no section to read.
            Kind::REPLY if frame.routing.is_empty() => {
                let Frame { header, body, .. } = frame;
                return Ok(Message::Reply(Reply { id: header.id, encoding: header.encoding, body }));
            }
            _ => return Message::decode(frame),
        }
        if frame.routing == self.section && !frame.routing.is_empty() {
            return Ok(Message::Call(self.again(frame)));
        }
        let section = Bytes::copy_from_slice(&frame.routing);
        frame.routing = section.clone();
        let message = Message::decode(frame)?;
        if let Message::Call(call) = &message {
            *self = Self { section, caller: call.caller.clone(), routing: call.routing.clone() };
        }
        Ok(message)
    }

    fn again(&self, Frame { header, body, .. }: Frame) -> Call {
        Call {
            id: header.id,
            one_way: header.flags.contains(Flags::ONE_WAY),
            streams: Streams::of(header.flags),
            encoding: header.encoding,
            timeout_ms: header.time_ms,
            caller: self.caller.clone(),
            routing: self.routing.clone(),
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_protocol::{Encoding, Identity, PeerNumber, limits::MAX_BODY};

    use super::*;

    fn frame(id: u64, uid: u32, method: &str) -> Frame {
        let call = Call {
            id,
            one_way: id.is_multiple_of(2),
            streams: ipc_protocol::Streams::NONE,
            encoding: Encoding::JSON,
            timeout_ms: 7,
            caller: Identity::new(uid, 1).stamp(Some(PeerNumber(9))),
            routing: Routing::to("calc", method).build(),
            body: "{}".into(),
        };
        Frame::from_datagram(Message::Call(call).to_vec().into(), MAX_BODY).unwrap()
    }

    #[test]
    fn a_call_is_read_the_same_whether_its_section_was_seen_before_or_not() {
        let mut last = LastCall::default();
        for (id, uid, method) in [(1, 5, "add"), (2, 5, "add"), (3, 5, "mul"), (4, 6, "mul"), (5, 6, "mul")] {
            assert_eq!(last.decode(frame(id, uid, method)), Message::decode(frame(id, uid, method)));
        }
    }

    #[test]
    fn a_reply_is_read_like_any_other_message() {
        let reply = Message::Reply(Reply { id: 3, encoding: Encoding::JSON, body: "3".into() });
        let frame = || Frame::from_datagram(reply.to_vec().into(), MAX_BODY).unwrap();
        assert_eq!(LastCall::default().decode(frame()), Ok(reply.clone()));
        let broken = || Frame { routing: Bytes::from_static(b"\x02"), ..frame() };
        assert_eq!(LastCall::default().decode(broken()), Message::decode(broken()));
        assert!(Message::decode(broken()).is_err());
    }

    #[test]
    fn a_section_that_is_refused_is_not_remembered() {
        let mut last = LastCall::default();
        let broken = || Frame { routing: Bytes::from_static(b"\x02\x01\x00A"), ..frame(1, 5, "add") };
        let refused = Message::decode(broken());
        assert!(refused.is_err());
        assert_eq!((last.decode(broken()), last.decode(broken())), (refused.clone(), refused));
    }
}
