//! Long streams: as much up as down, at once, through a broker that keeps none of it.

use std::thread;

use bytes::Bytes;
use ipc_client::{Client, Request, Streams};
use ipc_tests::{
    broker::{Broker, is_soak, skip},
    proc,
};

/// Bytes of an item.
const LEN: usize = 256 * 1024;
/// Bytes repeat after this number of them, which divides no length of an item.
const PERIOD: usize = 251;

/// `len` bytes of the stream, from a place of it.
fn bytes_at(place: usize, len: usize) -> Bytes {
    (place..place + len).map(|at| u8::try_from(at % PERIOD).unwrap()).collect()
}

/// Sends items to `cat` in a process of its own, and takes back what it writes, on a thread each.
fn both_ways(items: usize) {
    let mut broker = Broker::in_process("");
    let _service = broker.serve("mirror", &["mirror", "--stream", "--", "cat"]);
    let client = Client::connect_to(&broker.address()).unwrap();
    let pid = broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    let call = Request::new("mirror".parse().unwrap(), "");
    let (mut up, down) = client.stream_bytes(call, Streams { request: true, reply: true }).unwrap().split();
    let sending = thread::spawn(move || {
        let all = bytes_at(0, PERIOD + LEN);
        let item = |number: usize| all.slice(number * LEN % PERIOD..).slice(..LEN);
        (0..items).try_for_each(|number| up.send(item(number))).unwrap();
        up.finish();
    });
    let (mut place, expected) = (0, bytes_at(0, PERIOD + LEN));
    for item in down {
        let body = item.unwrap().body;
        assert!(expected[place % PERIOD..].starts_with(&body), "other bytes from {place} on");
        place += body.len();
    }
    sending.join().unwrap();
    assert_eq!(place, items * LEN);
    let grown = proc::peak_resident_kib(pid).saturating_sub(before);
    assert!(grown < 4 * 1024, "the broker grew by {grown} KiB");
}

#[test]
fn what_goes_both_ways_at_once_is_the_same_and_the_broker_keeps_none_of_it() {
    both_ways(256);
}

#[test]
fn a_gibibyte_goes_both_ways_at_once() {
    if !is_soak() {
        return skip("it moves 2 GiB: IPCD_SOAK=1");
    }
    both_ways(4_096);
}
