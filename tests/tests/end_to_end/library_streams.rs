//! Calls with streams in the Rust library, with a real broker.

use std::{sync::mpsc, thread, time::Duration};

use ipc_client::{
    CallError, Client, Context, Encoding, ErrorCode, Failed, Incoming, ItemsBytes, Request, Response, Service, Serving,
    SinkBytes, StreamMethod, Streams,
};
use ipc_tests::{broker::Broker, eventually::SOON};
use serde::{Deserialize, Serialize};

/// Sends back what it is sent.
#[derive(Serialize, Deserialize)]
struct Echo;

impl StreamMethod for Echo {
    const SERVICE: &'static str = "echo";
    const METHOD: &'static str = "";
    type In = bytes::Bytes;
    type Out = bytes::Bytes;
    type Reply = u64;
    type Error = String;
}

/// Counts to a number, and takes nothing.
#[derive(Serialize, Deserialize)]
struct Count(u64);

impl StreamMethod for Count {
    const SERVICE: &'static str = "echo";
    const METHOD: &'static str = "count";
    const UPLOAD: bool = false;
    type In = ();
    type Out = u64;
    type Reply = ();
    type Error = String;
}

fn service(broker: &Broker) -> Service {
    Service::new("echo")
        .address(&broker.address())
        .stream(|_: Echo, items, mut out, _| {
            let mut bytes = 0;
            for item in items {
                let item = item?;
                bytes += item.len() as u64;
                out.send(&item)?;
            }
            Ok(bytes)
        })
        .stream(|count: Count, _, mut out, _| {
            (0..count.0).try_for_each(|number| out.send(&number))?;
            Ok(())
        })
}

fn serve(broker: &Broker) -> Serving {
    service(broker).start().unwrap()
}

fn connect(broker: &Broker) -> Client {
    Client::connect_to(&broker.address()).unwrap()
}

/// An item that differs from those beside it.
fn item(number: usize, len: usize) -> bytes::Bytes {
    (0..len).map(|at| u8::try_from((number * 31 + at) % 251).unwrap()).collect()
}

#[test]
fn both_directions_run_at_once_without_deadlock() {
    let broker = Broker::start();
    let (_serving, client) = (serve(&broker), connect(&broker));
    let (mut up, mut down) = client.stream(&Echo).unwrap().split();
    let (items, len) = (1_000, 60_000);
    let sending = thread::spawn(move || {
        (0..items).try_for_each(|number| up.send(&item(number, len))).unwrap();
        up.finish();
    });
    for (number, received) in (0..items).zip(down.by_ref()) {
        assert!(received.unwrap() == item(number, len), "item {number}");
    }
    assert_eq!(down.end().unwrap(), (items * len) as u64);
    sending.join().unwrap();
}

#[test]
fn a_download_waits_for_who_takes_it() {
    let broker = Broker::start();
    let (_serving, client) = (serve(&broker), connect(&broker));
    let mut call = client.stream(&Count(10_000)).unwrap();
    assert_eq!(call.by_ref().take(10).map(Result::unwrap).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    client.ping().unwrap(); // what was sent meanwhile is read
    assert!(broker.stat("items") < 300, "{} items were sent", broker.stat("items"));
    assert_eq!(call.by_ref().map(Result::unwrap).collect::<Vec<_>>(), (10..10_000).collect::<Vec<_>>());
    call.end().unwrap();
}

#[test]
fn items_that_are_sent_together_arrive_one_by_one_and_in_order() {
    let broker = Broker::start();
    let (_serving, client) = (serve(&broker), connect(&broker));
    let (mut up, down) = client.stream(&Echo).unwrap().split();
    let sent: Vec<_> = (0..5_000).map(|number| item(number, number % 300)).chain([item(7, 300_000)]).collect();
    let items = sent.clone();
    let sending = thread::spawn(move || {
        up.send_all(&[]).unwrap();
        up.send_all(&items).unwrap();
        up.finish();
    });
    let received: Vec<_> = down.map(Result::unwrap).collect();
    assert!(received == sent, "{} items came", received.len());
    sending.join().unwrap();
}

#[test]
fn long_items_that_a_service_sends_together_arrive_whatever_the_socket_takes_at_once() {
    let broker = Broker::start();
    let give = |_: &Incoming, _: ItemsBytes, mut sink: SinkBytes, _: &Context| {
        let group = vec![item(1, 65_536); 1_000];
        (0..4).try_for_each(|_| sink.send_all(Encoding::BYTES, &group))?;
        Ok(Response::bytes(""))
    };
    let _serving = Service::new("give").address(&broker.address()).any_stream(give).start().unwrap();
    let call = Request::new("give".parse().unwrap(), "");
    let call = connect(&broker).stream_bytes(call, Streams { request: false, reply: true }).unwrap();
    assert_eq!(call.map(|item| item.unwrap().body.len()).sum::<usize>(), 4_000 * 65_536);
}

#[test]
fn an_item_that_is_too_long_is_refused_and_those_before_it_have_left() {
    let broker = Broker::start();
    let (_serving, client) = (serve(&broker), connect(&broker));
    let mut call = client.stream(&Echo).unwrap();
    let error = call.send_all(&[item(1, 3), bytes::Bytes::from(vec![0; (1 << 20) + 1])]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TOO_LARGE);
    assert_eq!(call.next().unwrap().unwrap(), item(1, 3));
}

#[test]
fn streams_and_calls_share_a_connection() {
    let broker = Broker::start();
    let (_serving, client) = (serve(&broker), connect(&broker));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || {
                let call = client.stream(&Count(2_000)).unwrap();
                assert_eq!(call.map(Result::unwrap).count(), 2_000);
            })
        })
        .collect();
    for _ in 0..100 {
        client.ping().unwrap();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_caller_that_drops_its_call_ends_the_method() {
    let broker = Broker::start();
    let (told, hear) = mpsc::channel();
    let endless = Service::new("echo").address(&broker.address()).stream(move |_: Count, _, mut out, _| {
        let error = (0..).map(|number| out.send(&number)).find_map(Result::err).unwrap();
        told.send(error.code()).unwrap();
        Err::<(), Failed<String>>(error.into())
    });
    let _serving = endless.start().unwrap();
    let mut call = connect(&broker).stream(&Count(0)).unwrap();
    assert_eq!(call.next().unwrap().unwrap(), 0);
    drop(call);
    assert_eq!(hear.recv_timeout(SOON).unwrap(), ErrorCode::CANCELLED);
}

#[test]
fn a_service_that_dies_ends_the_call_and_the_items_are_counted() {
    let broker = Broker::start();
    let polled = service(&broker).poll().unwrap();
    let client = connect(&broker);
    let (mut up, mut down) = client.stream(&Echo).unwrap().split();
    client.ping().unwrap(); // the broker has delivered the call
    drop(polled); // its connection, before it has taken a turn
    let error = up.send(&item(1, 10)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SERVICE_GONE);
    let error = down.next().unwrap().unwrap_err();
    assert_eq!((error.code(), error.delivered()), (ErrorCode::SERVICE_GONE, Some(0)));
    assert!(matches!(down.end(), Err(CallError::Failed(error)) if error.code() == ErrorCode::SERVICE_GONE));
}

#[test]
fn twenty_streams_end_once_with_the_broker() {
    let mut broker = Broker::in_process("");
    let _serving = service(&broker).threads(20).start().unwrap();
    let client = connect(&broker);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut call = client.stream(&Echo).unwrap();
            call.send(&item(1, 10)).unwrap();
            assert_eq!(call.next().unwrap().unwrap(), item(1, 10));
            call
        })
        .collect();
    let waiting: Vec<_> = calls
        .into_iter()
        .map(|mut call| thread::spawn(move || (call.next().unwrap().unwrap_err().code(), call.next().is_none())))
        .collect();
    broker.restart();
    assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == (ErrorCode::BROKER_LOST, true)));
    broker.wait_for("echo");
    let mut call = client.stream(&Echo).unwrap();
    call.send(&item(2, 10)).unwrap();
    assert_eq!(call.next().unwrap().unwrap(), item(2, 10));
    assert_eq!(call.end().unwrap(), 10);
}

#[test]
fn a_stream_outlives_its_deadline_while_somebody_waits() {
    let broker = Broker::start();
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let slow = Service::new("echo").address(&broker.address()).stream(move |_: Count, _, mut out, _| {
        gone.lock().unwrap().recv_timeout(SOON).unwrap();
        out.send(&1)?;
        Ok(())
    });
    let _serving = slow.start().unwrap();
    let mut call = connect(&broker).stream_within(&Count(1), Duration::from_millis(60)).unwrap();
    let receiving = thread::spawn(move || call.next().unwrap().unwrap());
    let began = std::time::Instant::now();
    ipc_tests::eventually::eventually(SOON, "three deadlines", || began.elapsed() > Duration::from_millis(200));
    go.send(()).unwrap();
    assert_eq!(receiving.join().unwrap(), 1);
}

#[test]
fn a_method_without_streams_refuses_them() {
    let broker = Broker::start();
    let plain = Service::new("echo").address(&broker.address()).any(|_, _| Err(Failed::busy("")));
    let _serving = plain.start().unwrap();
    let error = connect(&broker).stream(&Count(1)).unwrap().next().unwrap().unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::INVALID, ipc_client::Retry::Safe));
}
