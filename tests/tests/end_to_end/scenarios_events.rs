//! Scenarios with events and streams: a consumer slower than its producer, and a queue of work.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use bytes::Bytes;
use ipc_client::{
    Client, ErrorCode, Notice, Publication, Request, Retry, Service, StreamMethod, Subscription, Target,
    control::Keeping,
};
use ipc_tests::{
    broker::{Broker, is_soak},
    bystander::{Bystander, Latencies},
    command::Running,
    eventually::{SOON, eventually, eventually_some},
    proc,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    events_shell::{documents, subscribe},
    scenarios::instances,
};

// ---- S20: a producer faster than its consumer

/// How much memory a broker may take for those who don't read, in KiB.
pub(crate) const GROWTH_KIB: u64 = 4 * 1_024;
/// Events that are announced before the subscribers that keep up are waited for. The long version waits for none of them, only for
/// the broker's answer to each event.
const BATCH: usize = 1_000;
/// Events that may wait for each of them.
const QUEUE: u32 = 65_536;

fn connect(broker: &Broker) -> Client {
    Client::connect_to(&broker.address()).unwrap()
}

/// Stops a process, and waits until it has stopped.
fn pause(running: &Running) {
    running.signal(Signal::SIGSTOP);
    eventually(SOON, "a stopped process", || proc::state(running.pid()) == Some('T'));
}

/// What a subscriber that must lose nothing is told.
fn hear_all(mut subscription: Subscription, count: usize, heard: &AtomicUsize) {
    for number in 0..count {
        match subscription.next_within(SOON).unwrap() {
            Some(Notice::Event(event)) => assert_eq!(event.body, number.to_string()),
            other => panic!("{other:?} instead of event {number}"),
        }
        heard.fetch_add(1, Ordering::Relaxed);
    }
}

/// Publishes numbers while ten subscribers keep up with it, and a bystander calls.
fn publish_to_ten(broker: &Broker, count: usize, topic: impl Fn(usize) -> String) -> Latencies {
    let (heard, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut bystander = Bystander::start(broker.socket(), "bystander");
    let subscribe = |_| connect(broker).subscription("count.").policy(Keeping::Cut).queue(QUEUE).start().unwrap();
    let ten: Vec<Subscription> = (0..10).map(subscribe).collect();
    let publisher = connect(broker);
    thread::scope(|scope| {
        let calls = scope.spawn(|| bystander.call_while(|_| !done.load(Ordering::Relaxed)));
        let readers: Vec<_> = ten.into_iter().map(|reader| scope.spawn(|| hear_all(reader, count, &heard))).collect();
        for number in 0..count {
            let event = Publication::new(topic(number).parse().unwrap(), number.to_string());
            if is_soak() {
                assert_eq!(publisher.publish_bytes(&event).unwrap(), 11);
                continue;
            }
            publisher.announce_bytes(&event).unwrap();
            if (number + 1) % BATCH == 0 {
                let all = 10 * (number + 1);
                eventually(SOON, "ten that keep up", || heard.load(Ordering::Relaxed) == all);
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        calls.join().unwrap()
    })
}

/// How much the broker's resident memory has ever been above what it is now, after `act`, in KiB.
pub(crate) fn growth(broker: &mut Broker, act: impl FnOnce(&Broker)) -> u64 {
    let pid = broker.daemon().unwrap().pid();
    let before = proc::resident_kib(pid);
    act(broker);
    proc::peak_resident_kib(pid).saturating_sub(before)
}

#[test]
fn s20_a_stopped_subscriber_is_told_exactly_what_it_lost_and_ten_others_lose_nothing() {
    let mut broker = Broker::in_process("");
    let count = if is_soak() { 1_000_000 } else { 20_000 };
    let stopped = subscribe(&broker, &["count.", "-o", "json"]);
    pause(&stopped);
    let grown = growth(&mut broker, |broker| {
        let calls = publish_to_ten(broker, count, |_| "count.up".to_owned());
        assert!(calls.failed.is_empty() && !calls.is_empty(), "{calls} {:?}", calls.failed);
    });
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    stopped.signal(Signal::SIGCONT);
    stopped.expect_output(&format!("\"text\":\"{}\"", count - 1));
    stopped.signal(Signal::SIGTERM);
    let lines = documents(&stopped.finish().stdout());
    let (taken, lost) = account(&lines);
    assert_eq!((taken + lost, lost > 0), (count as u64, true));
}

/// The numbers of events and of losses. Each loss must be told where it is: the next event's number says so.
fn account(lines: &[Value]) -> (u64, u64) {
    let (mut taken, mut lost) = (0, 0);
    for line in lines {
        match line["gap"].as_u64() {
            Some(gap) => lost += gap,
            None => {
                assert_eq!(line["text"], (taken + lost).to_string(), "after {taken} events and {lost} losses");
                taken += 1;
            }
        }
    }
    (taken, lost)
}

#[test]
fn s20_a_stopped_subscriber_sees_the_latest_value_of_each_of_a_hundred_topics() {
    let mut broker = Broker::in_process("");
    let count = if is_soak() { 1_000_000 } else { 20_000 };
    let stopped = subscribe(&broker, &["count.", "--policy", "latest", "-o", "json"]);
    pause(&stopped);
    let topic = |number| format!("count.topic{}", number % 100);
    let grown = growth(&mut broker, |broker| {
        let calls = publish_to_ten(broker, count, topic);
        assert!(calls.failed.is_empty() && !calls.is_empty(), "{calls} {:?}", calls.failed);
    });
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    stopped.signal(Signal::SIGCONT);
    (count - 100..count).for_each(|number| drop(stopped.expect_output(&format!("\"text\":\"{number}\""))));
    stopped.signal(Signal::SIGTERM);
    let lines = documents(&stopped.finish().stdout());
    let text = |line: &Value| Some((line["topic"].as_str()?.to_owned(), line["text"].as_str()?.parse().ok()?));
    let last: BTreeMap<String, usize> = lines.iter().filter_map(text).collect();
    assert_eq!(last, (count - 100..count).map(|number| (topic(number), number)).collect());
    let lost: u64 = lines.iter().filter_map(|line| line["gap"].as_u64()).sum();
    assert_eq!(lines.iter().filter_map(text).count() as u64 + lost, count as u64);
}

/// Takes items when it is allowed to.
#[derive(Serialize, Deserialize)]
struct Swallow;

impl StreamMethod for Swallow {
    const SERVICE: &'static str = "drain";
    const METHOD: &'static str = "swallow";
    const DOWNLOAD: bool = false;
    type In = Bytes;
    type Out = ();
    type Reply = u64;
    type Error = String;
}

#[test]
fn s20_a_producer_waits_for_the_consumer_of_its_stream_and_the_broker_does_not_grow() {
    let mut broker = Broker::in_process("");
    let items = if is_soak() { 16_384 } else { 512 };
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let drain = Service::new("drain").address(&broker.address()).stream(move |_: Swallow, items, _, _| {
        gone.lock().unwrap().recv_timeout(SOON).unwrap();
        items.enumerate().try_fold(0, |bytes, (number, item)| {
            let item: Bytes = item?;
            assert!(item == chunk(number), "item {number} is another one");
            Ok(bytes + item.len() as u64)
        })
    });
    let _serving = drain.start().unwrap();
    let grown = growth(&mut broker, |broker| {
        let mut bystander = Bystander::start(broker.socket(), "bystander");
        let (sent, client) = (AtomicUsize::new(0), connect(broker));
        thread::scope(|scope| {
            let producer = scope.spawn(|| {
                let mut call = client.stream(&Swallow).unwrap();
                for number in 0..items {
                    call.send(&chunk(number)).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                call.end().unwrap()
            });
            eventually(SOON, "a producer that has used its credit", || sent.load(Ordering::Relaxed) >= 3);
            let calls = bystander.call_while(|calls| calls < 200);
            assert!(calls.failed.is_empty(), "{:?}", calls.failed);
            assert!(sent.load(Ordering::Relaxed) <= 8, "the producer doesn't wait");
            go.send(()).unwrap();
            assert_eq!(producer.join().unwrap(), (items * CHUNK) as u64);
        });
    });
    assert!(grown < GROWTH_KIB, "{grown} KiB");
}

/// Bytes of an item: four fill the credit that a service of the library grants.
const CHUNK: usize = 65_000;

/// An item that differs from those beside it.
fn chunk(number: usize) -> Bytes {
    vec![u8::try_from(number % 251).unwrap(); CHUNK].into()
}

// ---- S23: a queue of work

/// Notes the job that it is given. One job kills its worker.
const WORKER: &str = "read -r job; echo $job >>ran; until [ -e go ]; do sleep 0.01; done; \
    [ $job != poison ] || kill -9 $PPID; echo $job";

/// Calls until the job has run, and again only if it has not run for sure. What may have run and failed is published as dead.
fn work_off(client: &Client, job: &str, refused: &AtomicUsize) {
    let work = || client.call_bytes(Request::new(Target::parse("jobs").unwrap(), format!("{job}\n")));
    let end = eventually_some(SOON, "a job that is taken", || {
        let end = work();
        let is_safe = end.as_ref().is_err_and(|error| error.retry() == Retry::Safe);
        refused.fetch_add(usize::from(is_safe), Ordering::Relaxed);
        if is_safe { None } else { Some(end) }
    });
    match end {
        Ok(response) => assert_eq!(response.body, format!("{job}\n")),
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::SERVICE_GONE);
            let dead = Publication::new("jobs.dead".parse().unwrap(), job.to_owned());
            assert_eq!(client.publish_bytes(&dead).unwrap(), 1);
        }
    }
}

#[test]
fn s23_each_job_of_a_queue_runs_once_and_the_one_that_kills_its_worker_is_told_as_dead() {
    let broker = Broker::with_config("[limits]\ncalls_per_service = 6\n");
    let serve = || broker.ipcctl(["serve", "jobs", "--shared", "--jobs", "1", "--", "sh", "-c", WORKER]).start();
    let workers = [serve(), serve(), serve()];
    broker.wait_for("jobs");
    eventually(SOON, "three workers", || instances(&broker, "jobs") == 3);
    let mut dead = connect(&broker).subscribe("jobs.dead").unwrap();
    let jobs: Vec<String> = (0..24).map(|job| job.to_string()).chain(["poison".to_owned()]).collect();
    let (refused, client) = (AtomicUsize::new(0), connect(&broker));
    thread::scope(|scope| {
        let (client, refused) = (&client, &refused);
        jobs.iter().for_each(|job| drop(scope.spawn(move || work_off(client, job, refused))));
        eventually(SOON, "a queue that is full", || refused.load(Ordering::Relaxed) > 0);
        broker.file("go", "");
    });
    let Some(Notice::Event(event)) = dead.next_within(SOON).unwrap() else { panic!("nothing is dead") };
    assert_eq!(event.body, "poison");
    let ran = fs::read_to_string(broker.directory().join("ran")).unwrap();
    let mut ran: Vec<&str> = ran.lines().collect();
    let mut expected: Vec<&str> = jobs.iter().map(String::as_str).collect();
    ran.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ran, expected, "each ran once");
    let left = workers.iter().filter(|worker| proc::is_running(worker.pid())).count();
    assert_eq!((left, instances(&broker, "jobs")), (2, 2), "workers that are left");
}
