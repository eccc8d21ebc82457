//! Calls with streams against a broker that follows a script.
#![forbid(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod caller;
mod service;

use common::{Line, TooLarge};
use ipc_client::{Encoding, StreamMethod, Streams};
use ipc_protocol::{Credit, Element, End, Message, codec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// `calc.sums`: numbers of the caller, and the sum after each of them; the reply is their count.
#[derive(Debug, Serialize, Deserialize)]
struct Sums;

impl StreamMethod for Sums {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "sums";
    type In = i64;
    type Out = i64;
    type Reply = u32;
    type Error = TooLarge;
}

const BOTH: Streams = Streams { request: true, reply: true };

fn credit(id: u64, delivered: bool, items: u32) -> Message {
    Message::Credit(Credit { id, delivered, items, bytes: u64::from(items) * 1_000 })
}

fn item<T: Serialize>(id: u64, delivered: bool, value: &T) -> Message {
    let encoding = Encoding::BINCODE;
    Message::Item(Element { id, delivered, encoding, body: codec::encode(encoding, value).unwrap().into() })
}

impl Line {
    fn expect_credit(&mut self) -> Credit {
        match self.next() {
            Message::Credit(credit) => credit,
            other => panic!("no credit: {other:?}"),
        }
    }

    fn expect_item<T: DeserializeOwned>(&mut self) -> T {
        match self.next() {
            Message::Item(item) => codec::decode(item.encoding, &item.body).unwrap(),
            other => panic!("no item: {other:?}"),
        }
    }

    fn expect_end_of(&mut self, id: u64) -> End {
        match self.next() {
            Message::End(end) if end.id == id => end,
            other => panic!("no end: {other:?}"),
        }
    }
}
