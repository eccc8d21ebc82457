//! Events on their way to the broker.

use std::thread;

use ipc_client::{Address, Datagram, Encoding, ErrorCode, Publication, control::Published};
use ipc_protocol::{FieldTag, Frame, Message};

use crate::{
    Room,
    common::{Door, Line},
};

#[test]
fn a_typed_event_travels_as_json_and_its_subscribers_are_counted() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let publishing = scope.spawn(|| client.publish(&Room("attic"), &21.5).unwrap());
        let event = line.expect_event();
        assert_eq!(
            (event.topic(), event.encoding, &event.body[..]),
            ("home.attic.temperature", Encoding::JSON, &b"21.5"[..])
        );
        assert_eq!((event.one_way, event.retained), (false, false));
        line.reply_json(event.id, &Published { subscribers: 3 });
        assert_eq!(publishing.join().unwrap(), 3);
    });
}

#[test]
fn a_refused_event_is_told() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let publishing = scope.spawn(|| client.publish(&Room("attic"), &21.5).unwrap_err());
        let event = line.expect_event();
        line.refuse(event.id, ErrorCode::DENIED, "not you");
        assert_eq!(publishing.join().unwrap().code(), ErrorCode::DENIED);
    });
}

#[test]
fn an_event_is_kept_and_forgotten() {
    let (client, mut line) = Line::open_pair();
    thread::scope(|scope| {
        let publishing = scope.spawn(|| (client.retain(&Room("attic"), &21.5), client.clear(&Room("attic"))));
        let kept = line.expect_event();
        assert_eq!((kept.retained, &kept.body[..]), (true, &b"21.5"[..]));
        line.reply_json(kept.id, &Published { subscribers: 0 });
        let cleared = line.expect_event();
        assert_eq!((cleared.retained, cleared.topic(), &cleared.body[..]), (true, kept.topic(), &b""[..]));
        line.reply_json(cleared.id, &Published { subscribers: 1 });
        let (kept, cleared) = publishing.join().unwrap();
        assert_eq!((kept.unwrap(), cleared.unwrap()), (0, 1));
    });
}

#[test]
fn an_announced_event_is_not_waited_for() {
    let (client, mut line) = Line::open_pair();
    client.announce(&Room("attic"), &21.5).unwrap();
    client.announce(&Room("attic"), &22.5).unwrap();
    let (first, second) = (line.expect_event(), line.expect_event());
    assert!(first.one_way && second.one_way && first.id < second.id);
    assert_eq!((&first.body[..], &second.body[..]), (&b"21.5"[..], &b"22.5"[..]));
    assert!(line.is_silent());
}

#[test]
fn announced_events_gather_under_a_cork() {
    let (client, mut line) = Line::open_pair();
    let cork = client.cork();
    (0..10).for_each(|_| client.announce(&Room("attic"), &21.5).unwrap());
    assert!(line.is_silent());
    drop(cork);
    assert_eq!(line.next_read().len(), 10);
}

#[test]
fn many_announced_events_read_what_the_broker_says_meanwhile() {
    let (client, mut line) = Line::open_pair();
    line.send(Message::Goodbye(ipc_protocol::Goodbye { code: ErrorCode::UNAVAILABLE, text: "stopping".into() }));
    let refused = (0..1_000).find_map(|_| client.announce(&Room("attic"), &21.5).err());
    assert_eq!(refused.unwrap().code(), ErrorCode::BROKER_LOST);
}

#[test]
fn an_announced_event_goes_to_a_new_connection_when_the_one_at_hand_is_dead() {
    let door = Door::open();
    let (client, line) = door.open_client();
    drop(line);
    thread::scope(|scope| {
        let announcing = scope.spawn(|| client.announce(&Room("attic"), &21.5).unwrap());
        assert_eq!(door.accept().expect_event().topic(), "home.attic.temperature");
        announcing.join().unwrap();
    });
}

#[test]
fn an_event_of_bytes_keeps_its_encoding_and_trace() {
    let (client, mut line) = Line::open_pair();
    let publication = Publication::new("log.web".parse().unwrap(), "GET /").trace("00-1-2-01");
    client.announce_bytes(&publication).unwrap();
    let event = line.expect_event();
    assert_eq!((event.encoding, &event.body[..]), (Encoding::BYTES, &b"GET /"[..]));
    assert_eq!(event.routing.text(FieldTag::TRACE), Some("00-1-2-01"));
}

#[test]
fn a_topic_with_a_bad_name_is_misuse() {
    let (client, line) = Line::open_pair();
    let error = client.publish(&Room("the attic"), &21.5).unwrap_err();
    assert_eq!(error.code(), ErrorCode::USAGE);
    assert!(line.is_silent());
}

#[test]
fn an_event_over_the_limit_stays_here() {
    let (client, line) = Line::open_pair();
    let publication = Publication::new("log.web".parse().unwrap(), vec![0; (1 << 20) + 1]);
    assert_eq!(client.announce_bytes(&publication).unwrap_err().code(), ErrorCode::TOO_LARGE);
    assert!(line.is_silent());
}

#[test]
fn an_event_by_datagram_is_one_frame_that_wants_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let broker = std::os::unix::net::UnixDatagram::bind(directory.path().join("s.dgram")).unwrap();
    let sender = Datagram::connect_to(&Address::Path(socket)).unwrap();
    sender.publish(&Room("attic"), &21.5).unwrap();
    sender.publish_bytes(Publication::clearing("home.attic.temperature".parse().unwrap())).unwrap();
    let received = || {
        let mut buffer = vec![0; 1 << 16];
        let len = broker.recv(&mut buffer).unwrap();
        buffer.truncate(len);
        match Message::decode(Frame::from_datagram(buffer.into(), 1 << 20).unwrap()).unwrap() {
            Message::Event(event) => event,
            other => panic!("no event: {other:?}"),
        }
    };
    let (told, cleared) = (received(), received());
    assert!(told.one_way && !told.retained && cleared.one_way && cleared.retained);
    assert_eq!((told.topic(), &told.body[..], &cleared.body[..]), ("home.attic.temperature", &b"21.5"[..], &b""[..]));
}
