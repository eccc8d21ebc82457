//! A service and its clients without a broker: what works between them, and what is refused.
//!
//! No test here starts a broker: one of them looks at the threads and sockets of the process.
#![forbid(unsafe_code)]

use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use ipc_client::{
    CallError, CancelToken, Client, ConnectedPair, Encoding, ErrorCode, Failed, Items, Method, Remote, Request,
    Response, Retry, Service, StreamMethod, Streams, control::operation,
};
use serde::{Deserialize, Serialize};

/// `calc.add`.
#[derive(Debug, Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Method for Add {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = String;
}

/// `calc.rest`: answered when the test says so.
#[derive(Debug, Serialize, Deserialize)]
struct Rest;

impl Method for Rest {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "rest";
    type Reply = Option<String>;
    type Error = String;
}

/// `calc.sums`: numbers, and the sum after each of them; the reply is their count.
#[derive(Debug, Serialize, Deserialize)]
struct Sums;

impl StreamMethod for Sums {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "sums";
    type In = i64;
    type Out = i64;
    type Reply = u32;
    type Error = String;
}

fn calc() -> Service {
    Service::new("calc").about("Sums.").quick(|add: Add, _| {
        let sum = add.a.checked_add(add.b);
        Ok(sum.ok_or_else(|| "too large".to_owned())?)
    })
}

/// A service whose calls rest until their token is cancelled, or the test lets one go. Tells of each call that has begun.
fn resting(threads: usize) -> (ConnectedPair, Receiver<CancelToken>, Sender<()>) {
    let ((began, begun), (go, going)) = (mpsc::channel(), mpsc::channel::<()>());
    let going = std::sync::Mutex::new(going);
    let service = calc().threads(threads).method(move |_: Rest, context| {
        began.send(context.cancel().clone()).unwrap();
        loop {
            if context.cancel().wait(Duration::from_millis(1)) {
                return Ok(context.cancel().reason().map(|reason| reason.to_string()));
            }
            if going.lock().unwrap().try_recv().is_ok() {
                return Ok(None);
            }
        }
    });
    (Client::connected_pair(service).unwrap(), begun, go)
}

fn summing() -> ConnectedPair {
    let service = calc().stream(|_: Sums, items: Items<i64>, mut out, _| {
        let (mut sum, mut count) = (0, 0);
        for item in items {
            sum += item?;
            count += 1;
            out.send(&sum)?;
        }
        Ok(count)
    });
    Client::connected_pair(service).unwrap()
}

fn failed<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> ipc_client::Error {
    match result {
        Err(CallError::Failed(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}

fn soon() -> Duration {
    Duration::from_secs(30)
}

#[test]
fn calls_are_answered_and_errors_of_the_application_are_values() {
    let pair = Client::connected_pair(calc()).unwrap();
    assert_eq!(pair.client.call(&Add { a: 1, b: 2 }).unwrap(), 3);
    let refused = pair.client.call(&Add { a: i64::MAX, b: 1 });
    assert!(matches!(refused, Err(CallError::App(text)) if text == "too large"));
}

#[test]
fn started_calls_overtake_nothing_and_long_bodies_pass() {
    let pair = Client::connected_pair(calc()).unwrap();
    let started: Vec<_> = (0..1_000).map(|a| pair.client.start(Add { a, b: 1 }).unwrap()).collect();
    let sums: Vec<i64> = started.into_iter().map(|pending| pending.wait().unwrap()).collect();
    assert_eq!(sums, (1..=1_000).collect::<Vec<i64>>());

    let echo = Service::new("echo").any(|incoming, _| Ok(Response::new(Encoding::BYTES, incoming.body.clone())));
    let pair = Client::connected_pair(echo).unwrap();
    let body = vec![7; 1_000_000];
    let answer = pair.client.call_bytes(Request::new("echo".parse().unwrap(), body.clone())).unwrap();
    assert!(answer.body == body[..]);
}

#[test]
fn the_caller_is_this_process() {
    let service = calc().method(|_: Rest, context| {
        let caller = context.caller();
        Ok(Some(format!("{:?} {:?}", caller.identity.pid, caller.peer)))
    });
    let pair = Client::connected_pair(service).unwrap();
    let wanted = format!("{:?} {:?}", Some(std::process::id()), Some(pair.client.peer().unwrap()));
    assert_eq!(pair.client.call(&Rest).unwrap(), Some(wanted));
}

#[test]
fn a_deadline_ends_a_call_for_both_sides() {
    let (pair, begun, _go) = resting(1);
    let error = failed(pair.client.call_within(&Rest, Duration::from_millis(500)));
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Unknown));
    let token = begun.recv_timeout(soon()).unwrap();
    assert!(token.wait(soon()));
    assert_eq!(token.reason(), Some(ErrorCode::DEADLINE));
}

#[test]
fn a_deadline_is_kept_while_the_caller_waits_for_nothing() {
    let (pair, begun, _go) = resting(1);
    let request = Request::new("calc.rest".parse().unwrap(), "null").encoding(Encoding::JSON);
    let _pending = pair.client.start_bytes(request.timeout(Duration::from_millis(500))).unwrap();
    let token = begun.recv_timeout(soon()).unwrap();
    assert!(token.wait(Duration::from_secs(10)), "the default deadline is later");
    assert_eq!(token.reason(), Some(ErrorCode::DEADLINE));
}

#[test]
fn a_call_that_never_began_is_out_of_time_and_safe_to_retry() {
    let (pair, begun, go) = resting(1);
    let first = pair.client.start(Rest).unwrap();
    begun.recv_timeout(soon()).unwrap();
    let error = failed(pair.client.call_within(&Rest, Duration::from_millis(20)));
    assert_eq!((error.code(), error.retry()), (ErrorCode::DEADLINE, Retry::Safe));
    go.send(()).unwrap();
    assert_eq!(first.wait().unwrap(), None);
}

#[test]
fn a_call_that_is_given_up_cancels_its_method() {
    let (pair, begun, _go) = resting(1);
    let pending = pair.client.start(Rest).unwrap();
    let token = begun.recv_timeout(soon()).unwrap();
    drop(pending);
    assert!(token.wait(soon()));
    assert_eq!(token.reason(), Some(ErrorCode::CANCELLED));
}

#[test]
fn the_calls_of_a_client_that_is_dropped_are_cancelled() {
    let (pair, begun, _go) = resting(1);
    let ConnectedPair { client, serving, .. } = pair;
    let pending = client.start_bytes(Request::new("calc.rest".parse().unwrap(), "null").encoding(Encoding::JSON));
    let token = begun.recv_timeout(soon()).unwrap();
    drop((client, pending));
    assert!(token.wait(soon()));
    assert_eq!(token.reason(), Some(ErrorCode::CANCELLED));
    drop(serving);
}

#[test]
fn a_service_that_stops_finishes_what_runs_and_drops_what_waits() {
    let (pair, begun, go) = resting(1);
    let (runs, waits) = (pair.client.start(Rest).unwrap(), pair.client.start(Rest).unwrap());
    begun.recv_timeout(soon()).unwrap();
    pair.serving.stopper().stop();
    let error = failed(waits.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::SERVICE_GONE, Retry::Safe));
    go.send(()).unwrap();
    assert_eq!(runs.wait().unwrap(), None);
    pair.serving.wait().unwrap();
    let error = failed(pair.client.call(&Rest));
    assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
}

#[test]
fn a_call_that_outlasts_its_service_ends_with_service_gone() {
    let ((began, begun), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
    let ended = std::sync::Mutex::new(ended);
    let service = calc().method(move |_: Rest, context| {
        began.send(context.cancel().clone()).unwrap();
        let _ = ended.lock().unwrap().recv(); // whatever its token says
        Ok(None)
    });
    let ConnectedPair { client, serving, .. } = Client::connected_pair(service).unwrap();
    let pending = client.start(Rest).unwrap();
    let token = begun.recv_timeout(soon()).unwrap();
    let stopping = thread::spawn(move || drop(serving));
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::SERVICE_GONE, Retry::Unknown));
    assert!(token.wait(soon()));
    drop(end);
    stopping.join().unwrap();
}

#[test]
fn a_one_way_call_runs_and_a_refused_one_is_told() {
    let (tell, told) = mpsc::channel();
    let service = Service::new("calc").quick(move |add: Add, _| {
        tell.send(add.a + add.b).unwrap();
        Ok(0)
    });
    let pair = Client::connected_pair(service).unwrap();
    pair.client.tell(&Add { a: 1, b: 2 }).unwrap();
    assert_eq!(told.recv_timeout(soon()).unwrap(), 3);
    let error = pair.client.one_way(Request::new("clock.set".parse().unwrap(), "")).unwrap_err();
    assert_eq!((error.code(), error.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
}

#[test]
fn items_pass_in_both_directions_and_wait_for_credit() {
    let pair = summing();
    let (mut up, down) = pair.client.stream(&Sums).unwrap().split();
    let sender = thread::spawn(move || {
        up.send_all(&vec![1; 2_000]).unwrap();
        up.finish();
    });
    let mut down = down;
    let sums: Vec<i64> = down.by_ref().map(Result::unwrap).collect();
    sender.join().unwrap();
    assert_eq!(sums, (1..=2_000).collect::<Vec<i64>>());
    assert_eq!(down.end().unwrap(), 2_000);
}

#[test]
fn a_stream_that_is_given_up_ends_for_the_service() {
    let (tell, told) = mpsc::channel();
    let service = calc().any_stream(move |_, mut items, _out, _| {
        let item = items.next().unwrap();
        tell.send(item.map_err(|error| error.code())).unwrap();
        let ended = items.next().unwrap();
        tell.send(ended.map_err(|error| error.code())).unwrap();
        Ok(Response::bytes(""))
    });
    let pair = Client::connected_pair(service).unwrap();
    let request = Request::new("calc.sums".parse().unwrap(), "");
    let mut call = pair.client.stream_bytes(request, Streams { request: true, reply: true }).unwrap();
    call.send("one").unwrap();
    assert_eq!(told.recv_timeout(soon()).unwrap().unwrap().body, "one");
    drop(call);
    assert_eq!(told.recv_timeout(soon()).unwrap().unwrap_err(), ErrorCode::CANCELLED);
}

#[test]
fn a_service_without_streams_refuses_them_before_anything_runs() {
    let pair = Client::connected_pair(calc()).unwrap();
    let error = failed(pair.client.stream(&Sums).unwrap().end());
    assert_eq!((error.code(), error.retry()), (ErrorCode::INVALID, Retry::Safe));
}

#[test]
fn a_service_describes_itself() {
    let pair = Client::connected_pair(calc()).unwrap();
    let description = pair.client.describe(&"calc".parse().unwrap(), None).unwrap();
    assert_eq!(description.about, "Sums.");
    assert!(description.methods.contains_key(&"add".parse().unwrap()));
}

#[test]
fn a_name_with_a_method_and_the_number_of_the_service_lead_to_it() {
    let pair = Client::connected_pair(calc()).unwrap();
    let body = r#"{"a":1,"b":2}"#;
    for target in ["calc.add".to_owned(), format!("{}.add", pair.serving.peer())] {
        let request = Request::new(target.parse().unwrap(), body).encoding(Encoding::JSON);
        assert_eq!(pair.client.call_bytes(request).unwrap().body, &b"3"[..]);
    }
}

#[test]
fn a_method_calls_its_own_service_and_such_a_call_ends_with_it() {
    let (began, begun) = mpsc::channel();
    let service = calc().threads(2).method(move |_: Rest, context| {
        let three = context.client().call(&Add { a: 1, b: 2 }).map_err(|_| Failed::busy("no"))?;
        began.send(context.cancel().clone()).unwrap();
        Ok(Some(three.to_string()))
    });
    let pair = Client::connected_pair(service).unwrap();
    assert_eq!(pair.client.call(&Rest).unwrap().as_deref(), Some("3"));
    assert!(!begun.recv_timeout(soon()).unwrap().is_cancelled());
}

#[test]
fn more_clients_are_peers_of_their_own() {
    let (pair, begun, go) = resting(2);
    let other = pair.connect().unwrap();
    assert_ne!(other.peer().unwrap(), pair.client.peer().unwrap());
    let first = pair.client.start(Rest).unwrap();
    let token = begun.recv_timeout(soon()).unwrap();
    let second = other.start(Rest).unwrap();
    let others_token = begun.recv_timeout(soon()).unwrap();
    drop(second);
    assert!(others_token.wait(soon()) && !token.is_cancelled());
    go.send(()).unwrap();
    assert_eq!(first.wait().unwrap(), None);
}

#[test]
fn beyond_the_window_calls_wait_and_beyond_the_limit_they_are_refused() {
    let (pair, begun, go) = resting(1);
    let started: Vec<_> = (0..1_024).map(|_| pair.client.start(Rest).unwrap()).collect();
    begun.recv_timeout(soon()).unwrap();
    let error = failed(pair.client.call(&Rest));
    assert_eq!((error.code(), error.retry()), (ErrorCode::BUSY, Retry::Safe));
    started.iter().for_each(|_| go.send(()).unwrap());
    assert!(started.into_iter().all(|pending| pending.wait().unwrap().is_none()));
}

#[test]
fn what_takes_a_broker_is_refused_by_name() {
    let pair = Client::connected_pair(calc()).unwrap();
    let clock = pair.client.call_bytes(Request::new("clock".parse().unwrap(), "")).unwrap_err();
    assert_eq!((clock.code(), clock.retry()), (ErrorCode::NO_SERVICE, Retry::Safe));
    let refused = [
        pair.client.subscribe("house.*").map(drop).unwrap_err(),
        pair.client.lock("house").map(drop).unwrap_err(),
        pair.client.ask::<operation::Stats>(&ipc_client::control::Empty {}, None).map(drop).unwrap_err(),
    ];
    for error in refused {
        assert_eq!((error.code(), error.retry()), (ErrorCode::NO_METHOD, Retry::Safe), "{error}");
        assert!(error.to_string().contains("no broker"), "{error}");
    }
    pair.client.ping().unwrap();
}

#[test]
fn threads_of_a_client_share_its_end() {
    let (pair, begun, go) = resting(4);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| pair.client.call(&Rest).unwrap())).collect();
        (0..3).for_each(|_| drop(begun.recv_timeout(soon()).unwrap()));
        assert_eq!(pair.client.call(&Add { a: 1, b: 2 }).unwrap(), 3);
        (0..3).for_each(|_| go.send(()).unwrap());
        calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap(), None));
    });
}

#[ipc_client::service(name = "words")]
trait Words {
    fn shout(&self, text: &str) -> String;
    fn split(&self, text: &str) -> impl Iterator<Item = String>;
    #[quick]
    fn len(&self, text: &str) -> u64;
}

struct Speaker;

impl Words for Speaker {
    fn shout(&self, text: &str) -> String {
        text.to_uppercase()
    }

    fn split(&self, text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    fn len(&self, text: &str) -> u64 {
        text.len() as u64
    }
}

#[test]
fn the_client_of_a_trait_and_one_under_another_name_work() {
    let pair = Client::connected_pair(Speaker.into_service()).unwrap();
    let words = WordsClient::new(&pair.client);
    assert_eq!((words.shout("hi").unwrap().as_str(), words.len("hello").unwrap()), ("HI", 5));
    assert_eq!(words.split("one two").unwrap().collect::<Result<Vec<_>, _>>().unwrap(), ["one", "two"]);

    let second = Client::connected_pair(calc().named("calc.second")).unwrap();
    let remote = Remote::new(&second.client).named("calc.second");
    assert_eq!(remote.call(&Add { a: 1, b: 2 }).unwrap(), 3);
}

#[test]
fn there_is_no_thread_and_no_socket_but_those_of_the_service() {
    let pair = Client::connected_pair(calc()).unwrap();
    assert_eq!(pair.client.call(&Add { a: 1, b: 2 }).unwrap(), 3);
    let named: Vec<String> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .collect();
    assert!(named.iter().any(|name| name.trim() == "ipc-read"), "{named:?}");
    assert!(!named.iter().any(|name| name.contains("broker")), "{named:?}");
    let listening = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    assert!(!listening.contains(&format!("ipcd-testing-{}-", std::process::id())), "{listening}");
}
