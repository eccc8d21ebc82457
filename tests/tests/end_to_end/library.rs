//! The Rust library with a real broker that dies, stops and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ipc_client::{
    CallError, Client, Context, Datagram, ErrorCode, Failed, Method, Request, Retry, Service, Serving, Target,
};
use ipc_tests::{
    broker::Broker,
    command::Command,
    eventually::{SOON, eventually, within},
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Returns a word in capitals, or does what the test gives it to do.
#[derive(Serialize, Deserialize)]
struct Shout {
    word: String,
}

impl Method for Shout {
    const SERVICE: &'static str = "shout";
    const METHOD: &'static str = "now";
    type Reply = String;
    type Error = String;
}

fn shout(word: &str) -> Shout {
    Shout { word: word.to_owned() }
}

fn serve(
    broker: &Broker,
    answer: impl Fn(Shout, &Context) -> Result<String, Failed<String>> + Send + Sync + 'static,
) -> Serving {
    Service::new("shout").address(&broker.address()).method(answer).start().unwrap()
}

fn capitals(request: Shout, _context: &Context) -> Result<String, Failed<String>> {
    Ok(request.word.to_uppercase())
}

fn connect(broker: &Broker) -> Client {
    Client::connect_to(&broker.address()).unwrap()
}

fn failed<T: std::fmt::Debug>(outcome: Result<T, CallError<String>>) -> ipc_client::Error {
    match outcome {
        Err(CallError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

// ---- a broker that dies

#[test]
fn a_running_call_ends_once_with_broker_lost_and_is_not_repeated() {
    let mut broker = Broker::in_process("");
    let (runs, begun) = mpsc::channel();
    let _service = serve(&broker, move |request, context| {
        runs.send(()).unwrap();
        let _ = context.cancel().wait(SOON);
        capitals(request, context)
    });
    let client = connect(&broker);
    let pending = client.start(shout("x")).unwrap();
    begun.recv_timeout(SOON).unwrap();
    broker.restart();
    let error = failed(pending.wait());
    assert_eq!((error.code(), error.retry()), (ErrorCode::BROKER_LOST, Retry::Unknown));
    broker.wait_for("shout");
    client.ping().unwrap();
    assert!(begun.try_recv().is_err(), "it ran once");
}

#[test]
fn a_service_registers_again_when_the_broker_is_back() {
    let mut broker = Broker::in_process("");
    let _service = serve(&broker, capitals);
    let client = connect(&broker);
    for _ in 0..5 {
        assert_eq!(client.call(&shout("hello")).unwrap(), "HELLO");
        broker.restart();
        broker.wait_for("shout");
    }
    assert_eq!(client.call(&shout("hello")).unwrap(), "HELLO");
}

#[test]
fn a_shell_service_registers_again_when_the_broker_is_back() {
    let mut broker = Broker::in_process("");
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    broker.restart();
    assert_eq!(broker.ipcctl(["send", "--wait=20s", "upper", "hello"]).prints_text(), "HELLO");
}

#[test]
fn a_shell_caller_whose_broker_dies_exits_74_and_says_that_the_call_may_have_run() {
    let mut broker = Broker::in_process("");
    let _service = broker.serve("slow", &["slow", "--", "sh", "-c", "touch begun; exec sleep 975"]);
    let caller = broker.ipcctl(["send", "slow"]).start();
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    broker.daemon().unwrap().kill();
    let finished = caller.finish();
    let line = finished.refused(74);
    assert!(line.contains("broker_lost") && line.contains("may have run"), "{line}");
}

#[test]
fn without_a_broker_a_call_is_unavailable_and_safe_to_retry() {
    let mut broker = Broker::in_process("");
    let client = connect(&broker);
    broker.daemon().unwrap().kill();
    eventually(SOON, "a call that finds no broker", || {
        let error = failed(client.call(&shout("x")));
        error.code() == ErrorCode::UNAVAILABLE && error.retry() == Retry::Safe
    });
    broker.start_again();
    client.ping().unwrap();
}

#[test]
fn a_client_on_a_given_descriptor_never_reconnects() {
    let mut broker = Broker::in_process("");
    let connected = std::os::unix::net::UnixStream::connect(broker.socket()).unwrap();
    let client = Client::from_fd(connected.into()).unwrap();
    client.ping().unwrap();
    broker.restart();
    let error = failed(client.call(&shout("x")));
    assert_eq!(error.code(), ErrorCode::BROKER_LOST);
}

#[test]
fn many_clients_and_services_all_recover_with_the_broker() {
    let mut broker = Broker::in_process("");
    let services: Vec<_> = (0..20)
        .map(|at| {
            let service = Service::new(&format!("n{at}")).address(&broker.address());
            service.any(|incoming, _| Ok(ipc_client::Response::bytes(incoming.body.clone()))).start().unwrap()
        })
        .collect();
    let clients: Vec<_> = (0..20).map(|_| connect(&broker)).collect();
    broker.restart();
    for (at, client) in clients.iter().enumerate() {
        broker.wait_for(&format!("n{at}"));
        let request = Request::new(Target::parse(&format!("n{at}")).unwrap(), "x");
        assert_eq!(client.call_bytes(request).unwrap().body, "x");
    }
    drop(services);
}

// ---- a broker that stops

#[test]
fn a_call_to_a_stopped_broker_ends_at_its_deadline() {
    let mut broker = Broker::in_process("");
    let client = connect(&broker);
    client.ping().unwrap();
    broker.daemon().unwrap().pause();
    let start = Instant::now();
    let error = failed(client.call_within(&shout("x"), Duration::from_millis(300)));
    assert_eq!(error.code(), ErrorCode::DEADLINE);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    broker.daemon().unwrap().signal(Signal::SIGCONT);
    client.ping().unwrap();
}

#[test]
fn a_datagram_to_a_stopped_broker_never_blocks() {
    let mut broker = Broker::in_process("");
    let datagram = Datagram::connect_to(&broker.address()).unwrap();
    broker.daemon().unwrap().pause();
    let send = || datagram.one_way(Request::new(Target::parse("nobody").unwrap(), "x"));
    let refused = (0..10_000).find_map(|_| send().err()).expect("a queue that is full");
    assert_eq!((refused.code(), refused.retry()), (ErrorCode::BUSY, Retry::Safe));
    broker.daemon().unwrap().signal(Signal::SIGCONT);
    assert!(within(SOON, || send().is_ok()));
}

#[test]
fn a_datagram_sender_finds_the_next_broker() {
    let mut broker = Broker::in_process("");
    let datagram = Datagram::connect_to(&broker.address()).unwrap();
    let ping = || datagram.call_bytes(Request::new(Target::parse("ipc.ping").unwrap(), "{}"));
    assert_eq!(ping().unwrap().body, "{}");
    broker.restart();
    assert_eq!(ping().unwrap().body, "{}");
}

// ---- handlers

#[test]
fn a_panic_in_a_handler_affects_only_its_call() {
    let broker = Broker::start();
    let _service = serve(&broker, |request, _| {
        assert_ne!(request.word, "panic", "as the test wants it");
        Ok(request.word)
    });
    let client = connect(&broker);
    assert_eq!(failed(client.call(&shout("panic"))).code(), ErrorCode::INTERNAL);
    assert_eq!(client.call(&shout("well")).unwrap(), "well");
}

#[test]
fn a_dropped_call_is_cancelled_at_its_handler() {
    let broker = Broker::start();
    let (told, hears) = mpsc::channel();
    let (began, begun) = mpsc::channel();
    let _service = serve(&broker, move |_, context| {
        began.send(()).unwrap();
        told.send(context.cancel().wait(SOON)).unwrap();
        Err("nobody waits".to_owned().into())
    });
    let client = connect(&broker);
    let pending = client.start(shout("x")).unwrap();
    begun.recv_timeout(SOON).unwrap();
    drop(pending);
    assert_eq!(hears.recv_timeout(SOON), Ok(true));
}

#[test]
fn a_deadline_travels_to_the_handler() {
    let broker = Broker::start();
    let _service = serve(&broker, |_, context| Ok(context.time_left().as_millis().to_string()));
    let left = connect(&broker).call_within(&shout("x"), Duration::from_secs(2)).unwrap();
    let left: u64 = left.parse().unwrap();
    assert!((1..=2_000).contains(&left), "{left} ms");
}

#[test]
fn a_handler_may_call_its_own_service() {
    let broker = Broker::start();
    let _service = serve(&broker, |request, context| {
        let mut letters = request.word.chars();
        let Some(first) = letters.next() else { return Ok(String::new()) };
        let rest = context.client().call(&shout(letters.as_str())).map_err(|error| error.to_string())?;
        Ok(format!("{rest}{first}"))
    });
    assert_eq!(connect(&broker).call(&shout("abc")).unwrap(), "cba");
}

#[test]
fn two_services_may_call_each_other() {
    let broker = Broker::start();
    let pass_on = |to: &'static str| {
        move |incoming: &ipc_client::Incoming, context: &Context| {
            if incoming.body.len() >= 6 {
                return Ok(ipc_client::Response::bytes(incoming.body.clone()));
            }
            let longer = [&incoming.body[..], to.as_bytes()].concat();
            let request = Request::new(Target::parse(to).unwrap(), longer);
            context.client().call_bytes(request).map_err(|error| ipc_client::Failed::new(error.code(), error.text()))
        }
    };
    let _a = Service::new("a").address(&broker.address()).any(pass_on("b")).start().unwrap();
    let _b = Service::new("b").address(&broker.address()).any(pass_on("a")).start().unwrap();
    let request = Request::new(Target::parse("a").unwrap(), "");
    assert_eq!(connect(&broker).call_bytes(request).unwrap().body, "bababa");
}

#[test]
fn a_typed_client_and_a_shell_service_understand_each_other() {
    let broker = Broker::start();
    let script = r#"cat >request; echo "$IPC_ENCODING" >encoding; echo '"FROM THE SHELL"'"#;
    let _service = broker.serve("shout", &["shout", "--", "sh", "-c", script]);
    assert_eq!(connect(&broker).call(&shout("hello")).unwrap(), "FROM THE SHELL");
    let seen = |name: &str| std::fs::read_to_string(broker.directory().join(name)).unwrap();
    assert_eq!((seen("request"), seen("encoding")), (r#"{"word":"hello"}"#.to_owned(), "json\n".to_owned()));
}

#[test]
fn one_client_is_shared_by_many_threads() {
    let broker = Broker::start();
    let _service = serve(&broker, capitals);
    let client = connect(&broker);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for at in 0..16 {
            let (client, answered) = (&client, &answered);
            scope.spawn(move || {
                for round in 0..50 {
                    let word = format!("thread {at} round {round}");
                    assert_eq!(client.call(&shout(&word)).unwrap(), word.to_uppercase());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), 800);
    assert_eq!(broker.stat("connections"), 3, "service, client and this question");
}

#[test]
fn the_error_for_a_taken_name_names_the_holder() {
    let broker = Broker::start();
    let _first = serve(&broker, capitals);
    let second = Service::new("shout").address(&broker.address()).method(capitals).start();
    let error = second.expect_err("the name is taken");
    assert_eq!(error.code(), ErrorCode::NAME_TAKEN);
    assert!(error.text().contains(&format!("pid {}", std::process::id())), "{}", error.text());
}

#[test]
fn a_service_that_stops_frees_its_name_and_finishes_running_calls() {
    let broker = Broker::start();
    let (began, begun) = mpsc::channel();
    let gate = Arc::new(std::sync::Barrier::new(2));
    let opened = gate.clone();
    let service = serve(&broker, move |request, context| {
        began.send(()).unwrap();
        opened.wait();
        capitals(request, context)
    });
    let client = connect(&broker);
    let pending = client.start(shout("last")).unwrap();
    begun.recv_timeout(SOON).unwrap();
    let stopping = thread::spawn(move || {
        service.stop();
        service
    });
    eventually(SOON, "a free name", || broker.stat("names") == 0);
    gate.wait();
    assert_eq!(pending.wait().unwrap(), "LAST");
    stopping.join().unwrap();
}

// ---- a service of one's own

#[test]
fn a_key_value_store_takes_40_lines() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(manifest.join("../client-lib/examples/kv.rs")).unwrap();
    let lines = source.lines().count();
    assert!(lines <= 40, "{lines} lines");
    assert!(!source.contains("macro_rules!") && source.lines().all(|line| line.len() <= 120));
    let formatted = Command::new("rustfmt", ["--check", "--edition", "2024", "--config-path"])
        .argument(manifest.join("../rustfmt.toml"))
        .argument(manifest.join("../client-lib/examples/kv.rs"))
        .run();
    assert_eq!(formatted.code, 0, "{}", formatted.stdout());

    let broker = Broker::start();
    let kv = |arguments: &[&str]| broker.example("kv", arguments);
    let _service = kv(&["serve"]).start();
    broker.wait_for("kv");

    assert_eq!(kv(&["put", "color", "blue"]).run().code, 0);
    assert_eq!(kv(&["get", "color"]).run().stdout(), "blue\n");
    assert_eq!(kv(&["list"]).run().stdout(), "color\n");
    let missing = kv(&["get", "shape"]).run();
    assert_eq!((missing.code, missing.stderr.contains("NoKey(\"shape\")")), (1, true), "{}", missing.stderr);

    let shell = |arguments: &[&str]| broker.ipcctl(arguments).run();
    assert_eq!(shell(&["send", "kv.put", "key=shape", "value=round"]).stdout(), "null\n");
    assert_eq!(kv(&["get", "shape"]).run().stdout(), "round\n");
    assert_eq!(shell(&["send", "--propagate", "kv.get", "key=size"]).code, 2);
    let told = shell(&["-o", "json", "send", "kv.get", "key=size"]);
    assert_eq!(told.code, 1);
    assert!(told.stderr.contains("there is no key") && told.stderr.contains("\"size\""), "{}", told.stderr);
}
