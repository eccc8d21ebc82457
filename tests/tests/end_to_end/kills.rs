//! SIGKILL for one side of a stream, and for the broker below subscribers and streams: the others are told at once, and once.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ipc_client::{
    Client, Error, ErrorCode, Failed, ItemsBytes, Notice, Publication, Request, Response, Service, SinkBytes,
    StreamCallBytes, Streams, Subscription,
};
use ipc_tests::{
    broker::{Broker, is_soak},
    eventually::{SOON, eventually},
};
use nix::sys::signal::Signal;

fn connect(broker: &Broker) -> Client {
    Client::connect_to(&broker.address()).unwrap()
}

fn two_way(client: &Client) -> StreamCallBytes {
    let request = Request::new("echo".parse().unwrap(), "");
    client.stream_bytes(request, Streams { request: true, reply: true }).unwrap()
}

/// How one half of a stream ended: after how many items, why and when.
struct Ended {
    items: usize,
    error: Error,
    at: Instant,
}

/// Goes on until it fails.
fn until_it_ends(count: &AtomicUsize, mut step: impl FnMut() -> ipc_client::Result<()>) -> Ended {
    loop {
        if let Err(error) = step() {
            return Ended { items: count.load(Ordering::Relaxed), error, at: Instant::now() };
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends back what comes.
fn echo(items: &mut ItemsBytes, sink: &mut SinkBytes) -> ipc_client::Result<()> {
    let item = items.next().expect("the caller doesn't end its items")?;
    sink.send(item.encoding, item.body)
}

/// Asserts that a death was told in time.
fn told_at_once(killed: Instant, told: Instant) {
    let took = told.saturating_duration_since(killed);
    println!("told {took:?} after SIGKILL");
    let most = Duration::from_millis(if is_soak() { 100 } else { 1_000 });
    assert!(took < most, "told after {took:?}");
}

fn repetitions() -> usize {
    if is_soak() { 50 } else { 1 }
}

// ---- one side

#[test]
fn the_sigkill_of_a_service_ends_both_directions_with_the_number_of_items_that_it_was_sent() {
    let broker = Broker::start();
    (0..repetitions()).for_each(|_| {
        let service = broker.serve("echo", &["echo", "--stream", "--lines", "--", "cat"]);
        let (mut up, mut down) = two_way(&connect(&broker)).split();
        let (sent, received) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (killed, sending, receiving) = thread::scope(|scope| {
            let sending = scope.spawn(|| until_it_ends(&sent, || up.send("an item")));
            let receiving = scope.spawn(|| until_it_ends(&received, || down.next().expect("no end").map(drop)));
            eventually(SOON, "items both ways", || received.load(Ordering::Relaxed) > 500);
            let killed = Instant::now();
            service.signal(Signal::SIGKILL);
            (killed, sending.join().unwrap(), receiving.join().unwrap())
        });
        told_at_once(killed, sending.at.max(receiving.at));
        assert_eq!((sending.error.code(), receiving.error.code()), (ErrorCode::SERVICE_GONE, ErrorCode::SERVICE_GONE));
        let delivered = usize::try_from(receiving.error.delivered().unwrap()).unwrap();
        assert_eq!(sending.error.delivered(), receiving.error.delivered());
        let (least, most) = (receiving.items, sending.items);
        assert!((least..=most).contains(&delivered), "{delivered} delivered, {most} sent, {least} came back");
        assert!(down.next().is_none(), "it ends once");
    });
}

#[test]
fn the_sigkill_of_a_caller_ends_the_method_with_the_number_of_items_that_it_was_sent() {
    let broker = Broker::start();
    let (told, ends) = mpsc::channel();
    let echoed = std::sync::Arc::new(AtomicUsize::new(0));
    let count = echoed.clone();
    let service = Service::new("echo").address(&broker.address()).any_stream(move |_, mut items, mut sink, _| {
        let ended = until_it_ends(&count, || echo(&mut items, &mut sink));
        let error = ended.error.clone();
        told.send(ended).unwrap();
        Err(error.into())
    });
    let _serving = service.start().unwrap();
    (0..repetitions()).for_each(|_| {
        echoed.store(0, Ordering::Relaxed);
        let caller = broker.shell("exec ipcctl send echo --stream --chunk 100 - </dev/zero >/dev/null").start();
        eventually(SOON, "items both ways", || echoed.load(Ordering::Relaxed) > 500);
        let killed = Instant::now();
        caller.signal(Signal::SIGKILL);
        let ended: Ended = ends.recv_timeout(SOON).unwrap();
        told_at_once(killed, ended.at);
        assert_eq!(ended.error.code(), ErrorCode::CANCELLED);
        let delivered = usize::try_from(ended.error.delivered().unwrap()).unwrap();
        assert!(delivered > 0 && delivered <= ended.items, "{delivered} delivered, {} sent", ended.items);
    });
}

#[test]
fn a_command_whose_service_is_killed_says_how_many_of_its_items_were_sent_on() {
    let broker = Broker::start();
    let service = broker.serve("echo", &["echo", "--stream", "--lines", "--", "cat"]);
    let mut caller = broker.ipcctl(["send", "echo", "--stream", "--lines", "-"]).interactive().start();
    caller.write(b"one\ntwo\nthree\n");
    caller.expect_output("three\n");
    let killed = Instant::now();
    service.signal(Signal::SIGKILL);
    let finished = caller.finish();
    told_at_once(killed, Instant::now());
    assert_eq!((finished.code, finished.stdout().as_str()), (74, "one\ntwo\nthree\n"));
    assert!(finished.stderr.contains("service_gone") && finished.stderr.contains("3 items"), "{}", finished.stderr);
}

// ---- the broker

/// How often a subscription has resumed when it brings the event that says `last`.
fn resumed_until_last(mut subscription: Subscription, resumed: &mpsc::Sender<()>) -> usize {
    let mut count = 0;
    loop {
        match subscription.next_within(SOON).unwrap().expect("something is published") {
            Notice::Event(event) if event.body == "last" => return count,
            Notice::Resumed => {
                count += 1;
                resumed.send(()).unwrap();
            }
            _ => {}
        }
    }
}

/// Sends an item and takes it back, again and again, until the stream ends. Then it stays so.
fn exchange(mut call: StreamCallBytes, count: &AtomicUsize) -> Ended {
    let ended = until_it_ends(count, || {
        call.send("an item")?;
        call.next().expect("the service doesn't end its items").map(drop)
    });
    assert!(call.next().is_none_or(|again| again.is_err()), "an item behind the end");
    assert!(call.next().is_none(), "it ends once");
    assert_eq!(call.send("an item").unwrap_err().code(), ended.error.code());
    ended
}

#[test]
fn fifty_subscriptions_resume_once_and_twenty_streams_end_once_when_the_broker_is_killed_below_all_of_them() {
    let mut broker = Broker::in_process("");
    let (told, ends) = mpsc::channel();
    let service = Service::new("echo").address(&broker.address()).threads(20);
    let service = service.any_stream(move |_, mut items, mut sink, _| {
        let ended = until_it_ends(&AtomicUsize::new(0), || echo(&mut items, &mut sink));
        told.send(ended.error.code()).unwrap();
        Err::<Response, Failed>(ended.error.into())
    });
    let _serving = service.start().unwrap();
    let (resumes, resumed) = mpsc::channel();
    let (done, counts) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 20]);
    let publisher = connect(&broker);
    let publish =
        |body: &str| publisher.publish_bytes(&Publication::new("news.hour".parse().unwrap(), body.to_owned()));
    let subscriptions: Vec<_> = (0..50).map(|_| connect(&broker).subscribe("news.").unwrap()).collect();
    let caller = connect(&broker);
    thread::scope(|scope| {
        let subscribers: Vec<_> = subscriptions
            .into_iter()
            .map(|subscription| (subscription, resumes.clone()))
            .map(|(subscription, resumes)| scope.spawn(move || resumed_until_last(subscription, &resumes)))
            .collect();
        let calls = counts.iter().map(|count| (two_way(&caller), count));
        let streams: Vec<_> = calls.map(|(call, count)| scope.spawn(|| exchange(call, count))).collect();
        let publishing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = publish("between"); // there is no broker for some time
            }
        });
        eventually(SOON, "items of all streams", || counts.iter().all(|count| count.load(Ordering::Relaxed) > 10));
        broker.restart();
        (0..50).for_each(|_| resumed.recv_timeout(SOON).unwrap());
        done.store(true, Ordering::Relaxed);
        publishing.join().unwrap();
        assert_eq!(publish("last").unwrap(), 50, "all are back");
        assert!(subscribers.into_iter().all(|subscriber| subscriber.join().unwrap() == 1), "each says so once");
        let codes = streams.into_iter().map(|stream| stream.join().unwrap().error.code());
        assert!(codes.eq([ErrorCode::BROKER_LOST; 20]));
    });
    let codes: Vec<_> = (0..20).map(|_| ends.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(codes, [ErrorCode::BROKER_LOST; 20], "on the side of the service");
    assert!(ends.try_recv().is_err(), "each method ends once");
    broker.wait_for("echo");
    let mut again = two_way(&caller);
    again.send("an item").unwrap();
    assert_eq!(again.next().unwrap().unwrap().body, "an item");
}
