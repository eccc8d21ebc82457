//! Lines of text: a dialect for tests, which the seam has to carry like the native one. `ipcd` does not speak it.
//!
//! ```text
//! peer to broker:  !call 7 upper.loud hello     !reply 4294967296 HELLO     !error 4294967296 no
//! broker to peer:  call 4294967296 upper.loud hello     reply 7 HELLO     error 7 denied: user 5 may not ...
//! ```

use std::collections::VecDeque;

use ipc_protocol::{
    Encoding, ErrorCode, Hello, Routing, Streams, Violation,
    wire::{Call, Failure, Message, Reply},
};
use serde::{Deserialize, Serialize};

use super::{Incoming, Sheet};

/// The first byte of each line of a peer.
pub(super) const FIRST: u8 = b'!';

/// Lines of one connection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Inlet {
    bytes: VecDeque<u8>,
    /// Whether the router has received a hello, which this dialect does not have itself.
    greeted: bool,
}

impl Inlet {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(super) fn next<F>(&mut self, into: &mut Message<F>) -> Result<Option<Incoming>, Violation> {
        if !std::mem::replace(&mut self.greeted, true) {
            *into = Message::Hello(Hello::new("lines"));
            return Ok(Some(Incoming::Message));
        }
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let line = String::from_utf8_lossy(&line);
        *into = parse(line.trim_end()).ok_or(Violation::BadMagic(line.as_bytes()[0]))?;
        Ok(Some(Incoming::Message))
    }

    pub(super) fn partial(&self) -> Option<usize> {
        (!self.bytes.is_empty()).then_some(self.held())
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }
}

fn parse<F>(line: &str) -> Option<Message<F>> {
    let (verb, rest) = line.strip_prefix('!')?.split_once(' ')?;
    let (id, rest) = rest.split_once(' ')?;
    let id = id.parse().ok()?;
    Some(match verb {
        "call" => {
            let (target, body) = rest.split_once(' ')?;
            Message::Call(Call {
                id,
                one_way: false,
                streams: Streams::NONE,
                encoding: Encoding::BYTES,
                timeout_ms: 0,
                caller: bytes::Bytes::new(),
                routing: Routing::to(target, "").build(),
                body: body.to_owned().into(),
            })
        }
        "reply" => Message::Reply(Reply { id, encoding: Encoding::BYTES, body: rest.to_owned().into() }),
        "error" => Message::Error(Failure::new(id, ErrorCode::APP_ERROR, rest)),
        _ => return None,
    })
}

/// A line for each message that this dialect can express.
pub(super) fn encode<F>(message: &Message<F>, sheet: &mut Sheet) {
    let line = match message {
        Message::Call(call) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (service, method) = (text(call.routing.service()), text(call.routing.method()));
            format!("call {} {service}.{method} {}\n", call.id, text(&call.body))
        }
        Message::Reply(reply) => format!("reply {} {}\n", reply.id, String::from_utf8_lossy(&reply.body)),
        Message::Error(failure) => format!("error {} {}: {}\n", failure.id, failure.code, failure.text),
        Message::Goodbye(goodbye) => format!("goodbye {}: {}\n", goodbye.code, goodbye.text),
        _ => return,
    };
    sheet.bytes().extend_from_slice(line.as_bytes());
}

mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        os::{fd::OwnedFd, unix::net::UnixStream},
        thread::{self, JoinHandle},
        time::Duration,
    };

    use ipc_protocol::transport::Address;

    use crate::{Config, Server};

    /// A broker in a thread, and what ends it.
    struct Broker {
        directory: tempfile::TempDir,
        stop: Option<UnixStream>,
        thread: Option<JoinHandle<()>>,
    }

    impl Broker {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("ipcd.sock");
            let server = Server::bind(Config::new(Address::Path(socket))).unwrap();
            let (stop, stopped) = UnixStream::pair().unwrap();
            let thread = thread::spawn(move || server.run(OwnedFd::from(stopped)).unwrap());
            Self { directory, stop: Some(stop), thread: Some(thread) }
        }

        fn connect(&self) -> Peer {
            let stream = UnixStream::connect(self.directory.path().join("ipcd.sock")).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Peer(BufReader::new(stream))
        }
    }

    impl Drop for Broker {
        fn drop(&mut self) {
            self.stop = None;
            self.thread.take().map(JoinHandle::join);
        }
    }

    struct Peer(BufReader<UnixStream>);

    impl Peer {
        fn say(&mut self, line: &str) {
            self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        }

        fn hear(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }
    }

    #[test]
    fn a_call_in_lines_is_answered_in_lines() {
        let broker = Broker::start();
        let (mut service, mut caller) = (broker.connect(), broker.connect());
        service.say(r#"!call 1 ipc.register {"name":"upper","window":1}"#);
        assert!(service.hear().starts_with(r#"reply 1 {"peer":"#));

        caller.say("!call 7 upper.loud hello world");
        let call = service.hear();
        let (id, rest) = call.strip_prefix("call ").unwrap().split_once(' ').unwrap();
        assert_eq!(rest, "upper.loud hello world");
        service.say(&format!("!reply {id} HELLO WORLD"));
        assert_eq!(caller.hear(), "reply 7 HELLO WORLD");

        caller.say("!call 8 nobody.there x");
        assert_eq!(caller.hear(), "error 8 no_service: no process offers 'nobody.there'");
    }

    #[test]
    fn a_peer_that_speaks_in_lines_is_charged_like_any_other() {
        let broker = Broker::start();
        let (mut service, mut callers) = (broker.connect(), [broker.connect(), broker.connect()]);
        service.say(r#"!call 1 ipc.register {"name":"slow","window":1}"#);
        service.hear();
        let bytes = |peer: &mut Peer| -> u64 {
            peer.say("!call 9 ipc.stats {}");
            let stats = peer.hear();
            let (_, stats) = stats.split_once(r#""name":"bytes_held","value":"#).unwrap();
            stats.split_once(',').unwrap().0.parse().unwrap()
        };
        let before = bytes(&mut service);
        callers.iter_mut().for_each(|caller| caller.say(&format!("!call 1 slow.x {}", "a".repeat(1_000))));
        let call = service.hear(); // the other call waits in the queue, charged
        callers[1].say("!call 2 ipc.ping {}");
        callers[1].hear();
        service.say("!call 10 ipc.ping {}");
        service.hear();
        let mut service_again = broker.connect();
        assert!(bytes(&mut service_again) >= before + 1_000, "{call}");
    }
}
