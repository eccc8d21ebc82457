//! What tests assert about the world.

use ipc_protocol::{Cancel, ErrorCode, Failure, Goodbye, Message, Reply, Retry, control};
use ipcd::core::Event;
use serde::{Serialize, de::DeserializeOwned};

use super::{Delivered, Peer, Request, Ticket, Token, World};

impl World {
    /// The call ended with a reply.
    #[track_caller]
    pub(crate) fn expect_reply(&self, ticket: Ticket) -> Reply {
        match self.ledger.end_of(ticket) {
            Some(Message::Reply(reply)) => reply.clone(),
            other => panic!("no reply, but {other:?}"),
        }
    }

    /// The call ended with an error.
    #[track_caller]
    pub(crate) fn expect_error(&self, ticket: Ticket, code: ErrorCode) -> Failure {
        match self.ledger.end_of(ticket) {
            Some(Message::Error(failure)) if failure.code == code => failure.clone(),
            other => panic!("no {code}, but {other:?}"),
        }
    }

    /// The call ended with an error, and has not run.
    #[track_caller]
    pub(crate) fn expect_safe(&self, ticket: Ticket, code: ErrorCode) {
        assert_eq!(self.expect_error(ticket, code).retry, Retry::Safe);
    }

    /// The call ended with an error, and may have run.
    #[track_caller]
    pub(crate) fn expect_unknown(&self, ticket: Ticket, code: ErrorCode) {
        assert_eq!(self.expect_error(ticket, code).retry, Retry::Unknown);
    }

    /// The call has not ended, or ends without a message to its caller.
    #[track_caller]
    pub(crate) fn expect_no_end(&self, ticket: Ticket) {
        assert_eq!(self.ledger.end_of(ticket), None);
    }

    /// The peer was cut, and its goodbye contains `reason`.
    #[track_caller]
    pub(crate) fn expect_cut(&self, peer: Peer, reason: &str) {
        let goodbye = self.goodbye(peer);
        assert_eq!(goodbye.code, ErrorCode::PROTOCOL);
        assert!(goodbye.text.contains(reason), "{:?} does not contain {reason:?}", goodbye.text);
    }

    /// What the router said when it closed the peer's connection.
    #[track_caller]
    pub(crate) fn goodbye(&self, peer: Peer) -> &Goodbye {
        self.fakes[peer.0].goodbye.as_ref().expect("the connection was closed by the router")
    }

    /// Answers to datagrams, in order, with their addresses.
    pub(crate) fn answers(&self) -> &[(Vec<u8>, Message)] {
        &self.answers
    }

    /// The peer's connection is open.
    #[track_caller]
    pub(crate) fn expect_open(&self, peer: Peer) {
        let fake = &self.fakes[peer.0];
        assert!(fake.is_open(), "{peer:?} was cut: {:?}", fake.goodbye);
    }

    /// No call is in the service's inbox.
    #[track_caller]
    pub(crate) fn expect_no_call(&mut self, service: Peer) {
        let call = self.take_call(service);
        assert!(call.is_none(), "{call:?}");
    }

    /// The service has received a cancel of the call.
    #[track_caller]
    pub(crate) fn expect_cancel(&self, delivered: &Delivered, reason: ErrorCode) {
        let cancel = Message::Cancel(Cancel { id: delivered.call.id, reason, delivered: None });
        let inbox = &self.fakes[delivered.to.0].inbox;
        assert!(inbox.contains(&cancel), "no {cancel:?} in {inbox:?}");
    }

    /// The last event in the log contains `text`.
    #[track_caller]
    pub(crate) fn expect_logged(&self, text: &str) {
        let last = self.log.last().map(Event::to_string).unwrap_or_default();
        assert!(last.contains(text), "the log says {last:?}");
    }

    /// Messages that the peer has read and the test has not taken, in order.
    pub(crate) fn inbox(&self, peer: Peer) -> Vec<Message> {
        self.fakes[peer.0].inbox.iter().cloned().collect()
    }

    pub(crate) fn clear_inbox(&mut self, peer: Peer) {
        self.fakes[peer.0].inbox.clear();
    }

    /// The peer's number, from its welcome.
    pub(crate) fn number(&self, peer: Peer) -> u64 {
        self.fakes[peer.0].number()
    }

    /// The peer's address for direct calls.
    pub(crate) fn address(&self, peer: Peer) -> String {
        format!("@{}", self.number(peer))
    }

    /// Whether the caller has been told how its call ended.
    pub(crate) fn has_ended(&self, ticket: Ticket) -> bool {
        self.ledger.end_of(ticket).is_some()
    }

    /// Whether the call has reached a service.
    pub(crate) fn was_delivered(&self, ticket: Ticket) -> bool {
        self.ledger.was_delivered(ticket)
    }

    /// Takes all calls out of a service's inbox and returns their bodies.
    pub(crate) fn take_bodies(&mut self, service: Peer) -> Vec<String> {
        std::iter::from_fn(|| self.take_call(service))
            .map(|delivered| String::from_utf8_lossy(&delivered.call.body).into_owned())
            .collect()
    }

    /// Answers all calls of a service, one after another, and returns their bodies in the order in which they came.
    pub(crate) fn answer_each(&mut self, service: Peer) -> Vec<String> {
        let one = || {
            let delivered = self.take_call(service)?;
            self.reply(&delivered, b"");
            Some(String::from_utf8_lossy(&delivered.call.body).into_owned())
        };
        std::iter::from_fn(one).collect()
    }

    /// A caller's next call reaches a service and is answered.
    #[track_caller]
    pub(crate) fn expect_served(&mut self, caller: Peer, name: &str, service: Peer) {
        let call = self.call(caller, name, "", b"");
        self.reply_next(service, b"");
        self.expect_reply(call);
    }

    /// The answer of the broker's own service to an operation.
    #[track_caller]
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, peer: Peer, operation: &str, request: &impl Serialize) -> T {
        self.ask_as(peer, Request::ipc(operation, request))
    }

    /// The answer of the broker's own service to a request.
    #[track_caller]
    pub(crate) fn ask_as<T: DeserializeOwned>(&mut self, peer: Peer, request: Request) -> T {
        let ticket = self.make(peer, request);
        let reply = self.expect_reply(ticket);
        serde_json::from_slice(&reply.body).expect("the answer has the documented form")
    }

    /// A counter, from `ipc.stats`.
    #[track_caller]
    pub(crate) fn stat(&mut self, peer: Peer, name: &str) -> u64 {
        let stats: control::Stats = self.ask(peer, "stats", &control::Empty {});
        let row = stats.stats.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("no counter {name}")).value
    }

    /// A limit and its use, from `ipc.limits`.
    #[track_caller]
    pub(crate) fn limit(&mut self, peer: Peer, name: &str) -> control::LimitRow {
        let limits: control::Limits = self.ask(peer, "limits", &control::Empty {});
        let row = limits.limits.into_iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("no limit {name}"))
    }

    pub(crate) fn is_open(&self, peer: Peer) -> bool {
        self.fakes[peer.0].is_open()
    }

    /// Whether the peer has said hello and read its welcome, and the broker reads from it.
    pub(crate) fn is_ready(&self, peer: Peer) -> bool {
        let fake = &self.fakes[peer.0];
        fake.is_open() && fake.has_number() && !fake.parked && !fake.ended && self.router.may_send(fake.id)
    }

    pub(crate) fn unread(&self, peer: Peer) -> usize {
        self.fakes[peer.0].unread()
    }

    /// Bytes that the router holds for all peers.
    pub(crate) fn bytes_held(&self) -> u64 {
        self.router.bytes_held()
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.router.is_drained()
    }

    /// Disconnects all peers and checks that nothing is left of them.
    pub(crate) fn end(mut self) {
        self.clear_topics();
        for peer in (0..self.fakes.len()).map(Peer) {
            self.disconnect(peer);
        }
        self.ledger.assert_all_ended();
        assert_eq!(self.bytes_held(), 0);
        assert!(self.is_drained(), "calls are left");
        let state: serde_json::Value = serde_json::from_str(&self.state()).expect("JSON was written");
        let (board, post) = (&state["board"], &state["board"]["post"]);
        let (names, calls) = (&board["names"], &board["calls"]);
        let tables = [
            &post["peers"]["table"],
            &post["accounts"]["rows"],
            &names["names"],
            &names["instances"],
            &calls["slots"],
            &board["locks"]["table"],
        ];
        for table in tables {
            let places = table["places"].as_array().expect("a table has places");
            assert!(places.iter().all(|place| place["row"].is_null()), "a row is left: {table}");
        }
        let empty = serde_json::json!({});
        assert_eq!(names["by_name"], empty);
        assert_eq!(post["peers"]["by_number"], empty);
        assert_eq!(post["accounts"]["by_uid"], empty);
        assert_eq!(board["watches"]["by_name"], empty);
        assert_eq!(board["locks"]["by_name"], empty);
        assert_eq!(state["assembly"]["waiting"], serde_json::json!([]));
        assert_eq!(Token::count_open(), 0, "descriptors are left open");
    }
}
