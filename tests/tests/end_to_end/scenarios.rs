//! The classic programs of courses on sockets and local IPC, built on the broker and numbered as in the list of scenarios.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    ops::Range,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::Path,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use ipc_client::{Client, Datagram, ErrorCode, Failed, Method, Request, Retry, Service, Target};
use ipc_protocol::control;
use ipc_tests::{
    broker::{AT_ONCE, Broker, counts, skip},
    command::{Command, Running},
    eventually::{SOON, eventually},
    peer::Peer,
    proc,
    scene::Scene,
};
use nix::sys::signal::Signal;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// Doubles a number.
#[derive(Serialize, Deserialize)]
struct Double {
    of: u64,
}

impl Method for Double {
    const SERVICE: &'static str = "double";
    const METHOD: &'static str = "now";
    type Reply = u64;
    type Error = String;
}

fn double(request: Double) -> Result<u64, Failed<String>> {
    Ok(request.of.checked_mul(2).ok_or_else(|| "too large".to_owned())?)
}

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

// ---- S1, S2: three clients of a slow service

const NEXT: &str = "sleep 2; tr A-Y B-Z";

/// Three sends that arrive one after another. Returns the output of each, and when it ended after the start of the first.
fn three_sends(broker: &Broker) -> Vec<(String, Duration)> {
    let start = Instant::now();
    let sends: Vec<Running> = ["A", "B", "C"]
        .iter()
        .enumerate()
        .map(|(at, body)| {
            let running = broker.ipcctl(["send", "next", body]).start();
            eventually(SOON, "a call that has arrived", || calls_of(broker, "next") > at as u64);
            running
        })
        .collect();
    let (ended, ends) = mpsc::channel();
    for running in sends {
        let ended = ended.clone();
        thread::spawn(move || {
            let finished = running.finish();
            assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
            ended.send((finished.stdout(), start.elapsed())).unwrap();
        });
    }
    drop(ended);
    ends.iter().collect()
}

/// The number of calls delivered to a name, and in its queue.
fn calls_of(broker: &Broker, name: &str) -> u64 {
    let shown: control::Shown = Peer::connect(broker).ask("show", &serde_json::json!({ "name": name }));
    shown.calls + u64::from(shown.queued)
}

#[test]
fn s01_eight_jobs_serve_three_sends_at_the_same_time_and_leave_no_zombie() {
    let broker = Broker::start();
    let service = broker.serve("next", &["next", "--jobs", "8", "--", "sh", "-c", NEXT]);
    let mut ends = three_sends(&broker);
    ends.sort();
    let texts: Vec<_> = ends.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["B", "C", "D"]);
    assert!(ends.iter().all(|(_, at)| *at < Duration::from_secs(3)), "{ends:?}");
    assert_eq!(proc::zombies_of(service.pid()), [0_u32; 0]);
}

#[test]
fn s01_one_job_serves_three_sends_in_order_of_arrival() {
    let broker = Broker::start();
    let service = broker.serve("next", &["next", "--jobs", "1", "--", "sh", "-c", NEXT]);
    let ends = three_sends(&broker);
    let texts: Vec<_> = ends.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["B", "C", "D"]);
    assert!((Duration::from_secs(6)..Duration::from_secs(9)).contains(&ends[2].1), "{ends:?}");
    assert_eq!(proc::zombies_of(service.pid()), [0_u32; 0]);
}

#[test]
fn s02_an_iterative_server_takes_one_call_at_a_time_and_a_full_queue_is_busy() {
    let broker = Broker::with_config("[limits]\ncalls_per_service = 3\n");
    // Of two at once, the second would find the first one's directory.
    let script = "mkdir only || exit 9; while [ ! -e go ]; do sleep 0.01; done; cat; rmdir only";
    let _service = broker.serve("one", &["one", "--jobs", "1", "--", "sh", "-c", script]);
    let waiting: Vec<Running> = ["a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(at, body)| {
            let running = broker.ipcctl(["send", "one", body]).start();
            eventually(SOON, "a call that has arrived", || calls_of(&broker, "one") > at as u64);
            running
        })
        .collect();
    let refused = broker.ipcctl(["send", "one", "d"]).run();
    let line = refused.refused(75);
    assert!(line.contains("busy") && line.contains("it has not run"), "{line}");
    broker.file("go", "");
    let answers: Vec<_> = waiting.into_iter().map(|running| running.finish().stdout()).collect();
    assert_eq!(answers, ["a", "b", "c"]);
}

// ---- S3, S4, S5: the same service as processes, as threads, as one thread

#[test]
fn s03_a_process_for_each_call_turns_lower_case_into_upper_case_and_is_waited_for_at_once() {
    let broker = Broker::start();
    let service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let script =
        "for word in one two three four five six seven eight nine ten end; do ipcctl send upper \"$word \"; done";
    assert_eq!(broker.shell(script).prints_text(), "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN END ");
    assert_eq!(proc::zombies_of(service.pid()), [0_u32; 0]);
}

#[test]
fn s04_threads_give_the_same_results_in_each_callers_order() {
    let broker = Broker::start();
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let begun = log.clone();
    let _service = Service::new("double")
        .address(&broker.address())
        .threads(1)
        .method(move |request: Double, context| {
            begun.lock().unwrap().push((context.caller().peer, request.of));
            double(request)
        })
        .start()
        .unwrap();
    let clients: Vec<Client> = (0..4).map(|_| Client::connect_to(&broker.address()).unwrap()).collect();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                let pending: Vec<_> = (0..50).map(|of| client.start(Double { of }).unwrap()).collect();
                let replies: Vec<u64> = pending.into_iter().map(|one| one.wait().unwrap()).collect();
                assert_eq!(replies, (0..50).map(|of| of * 2).collect::<Vec<_>>());
            });
        }
    });
    let log = log.lock().unwrap();
    for client in &clients {
        let own: Vec<u64> = log.iter().filter(|(peer, _)| *peer == client.peer().ok()).map(|(_, of)| *of).collect();
        assert_eq!(own, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn s04_four_threads_work_side_by_side() {
    let broker = Broker::start();
    let meeting = Arc::new(Barrier::new(4));
    let _service = Service::new("double")
        .address(&broker.address())
        .threads(4)
        .method(move |request: Double, _context| {
            meeting.wait(); // opens only when all four threads have arrived
            double(request)
        })
        .start()
        .unwrap();
    let client = Client::connect_to(&broker.address()).unwrap();
    let pending: Vec<_> = (0..8).map(|of| client.start(Double { of }).unwrap()).collect();
    let replies: Vec<u64> = pending.into_iter().map(|one| one.wait().unwrap()).collect();
    assert_eq!(replies, (0..8).map(|of| of * 2).collect::<Vec<_>>());
}

#[test]
fn s05_one_thread_serves_a_thousand_concurrent_calls() {
    let broker = Broker::start();
    let _service =
        Service::new("double").address(&broker.address()).quick(|request: Double, _| double(request)).start().unwrap();
    let client = Client::connect_to(&broker.address()).unwrap();
    let corked = client.cork();
    let pending: Vec<_> = (0..1_000).map(|of| client.start(Double { of }).unwrap()).collect();
    drop(corked);
    let sum: u64 = pending.into_iter().map(|one| one.wait().unwrap()).sum();
    assert_eq!(sum, 999 * 1_000);
}

#[test]
fn s05_ten_thousand_peers_are_connected_to_one_thread() {
    const PEERS: usize = 10_000;
    if getrlimit(Resource::Nofile).maximum.is_some_and(|most| most < PEERS as u64 + 300) {
        return skip("this system does not allow 10,300 descriptors");
    }
    let mut broker = Broker::in_process("[limits]\nconnections_per_uid = 11000\n");
    let mut crowd = broker.crowd(env!("CARGO_BIN_EXE_crowd"), "connections", PEERS).interactive().start();
    crowd.expect_output("welcomed=10000 refused=0 other=0");
    let mut one_more = Peer::connect(&broker);
    one_more.settle();
    let pid = broker.daemon().unwrap().pid();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    assert_eq!(threads, 1);
    let resident = proc::resident_kib(pid);
    assert!(resident < 64 * 1024, "{resident} KiB for 10,000 peers");
    crowd.end_input();
    crowd.finish();
}

// ---- S6: an interactive client

#[test]
fn s06_each_line_is_answered_before_the_next_one_is_typed() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let mut session = broker.ipcctl(["send", "upper", "--lines", "-"]).interactive().start();
    session.write(b"hello\n");
    session.expect_output("HELLO\n");
    session.write(b"again\n");
    session.expect_output("HELLO\nAGAIN\n");
    session.write(b"end without a line break");
    session.end_input();
    assert_eq!(session.finish().stdout(), "HELLO\nAGAIN\nEND WITHOUT A LINE BREAK\n");
}

// ---- S7, S8: datagrams

#[test]
fn s07_the_datagram_socket_answers_any_sender() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(broker.shell("test -S $IPCD_SOCKET.dgram && ipcctl send --datagram upper hi").prints_text(), "HI");
    if Path::new("/usr/bin/file").exists() {
        assert!(broker.shell("file $IPCD_SOCKET.dgram").prints_text().ends_with(": socket\n"));
    }
}

#[test]
fn s07_a_typed_call_is_answered_by_datagram() {
    let broker = Broker::start();
    let _service =
        Service::new("double").address(&broker.address()).quick(|request: Double, _| double(request)).start().unwrap();
    let sent = broker.ipcctl(["send", "--datagram", "double.now", "of:=21"]);
    assert_eq!(sent.prints_text(), "42\n");
}

#[test]
fn s08_two_people_chat_by_datagram_until_one_says_quit() {
    let broker = Broker::start();
    let join = |name: &str| {
        let (said, heard) = mpsc::channel();
        let hear = move |incoming: &ipc_client::Incoming, _: &ipc_client::Context| {
            said.send(String::from_utf8_lossy(&incoming.body).into_owned()).unwrap();
            Ok(ipc_client::Response::bytes(""))
        };
        let serving = Service::new(name).address(&broker.address()).threads(1).any(hear).start().unwrap();
        (serving, heard, Datagram::connect_to(&broker.address()).unwrap())
    };
    let (_alice, alice_hears, from_alice) = join("alice");
    let (_bob, bob_hears, from_bob) = join("bob");
    let talk = [("bob", "hello bob"), ("alice", "hello alice"), ("bob", "how are you"), ("alice", "quit")];
    for (to, words) in talk {
        let (mouth, ears) = if to == "bob" { (&from_alice, &bob_hears) } else { (&from_bob, &alice_hears) };
        mouth.one_way(Request::new(target(to), words)).unwrap();
        assert_eq!(ears.recv_timeout(SOON).unwrap(), words);
    }
}

// ---- S10: unnamed sockets between parent and child

#[test]
fn s10_a_parent_hands_its_child_a_connected_descriptor() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let connected = UnixStream::connect(broker.socket()).unwrap();
    let child = Command::shell("exec ipcctl -s fd:3 send upper hello 3<&0 </dev/null").input_descriptor(connected);
    assert_eq!(child.prints_text(), "HELLO");
}

#[test]
fn s10_run_hands_any_program_a_connected_descriptor() {
    let script = r#"case $IPCD_SOCKET in fd:*) ipcctl ping >/dev/null && echo "talks over ${IPCD_SOCKET%:*}" ;; esac"#;
    assert_eq!(Command::ipcctl(["run", "--fd", "--", "sh", "-c", script]).prints_text(), "talks over fd\n");
}

#[test]
fn s10_a_rust_client_uses_a_descriptor_that_it_was_given() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let connected = OwnedFd::from(UnixStream::connect(broker.socket()).unwrap());
    let client = Client::from_fd(connected).unwrap();
    assert_eq!(client.call_bytes(Request::new(target("upper"), "hello")).unwrap().body, "HELLO");
}

#[test]
fn s10_a_descriptor_that_is_not_a_socket_is_refused() {
    Command::shell("ipcctl -s fd:3 list 3</dev/null").run().refused(2);
    let finished = Command::shell("ipcctl -s fd:9 list").run();
    assert_eq!(finished.code, 69, "{}", finished.stderr);
}

// ---- S11: a worker behind a pipe

#[test]
fn s11_a_long_lived_worker_keeps_its_state_from_line_to_line() {
    let broker = Broker::start();
    let _service =
        broker.serve("sum", &["sum", "--lines", "--", "sh", "-c", "while read -r n; do echo $((sum += n)); done"]);
    let sums: Vec<_> = ["1", "20", "300"].iter().map(|n| broker.ipcctl(["send", "sum", n]).prints_text()).collect();
    assert_eq!(sums, ["1", "21", "321"]);
}

#[test]
fn s11_a_worker_that_dies_fails_its_call_and_the_next_one_starts_afresh() {
    let broker = Broker::start();
    let worker = "while read -r line; do n=$((n + 1)); [ $line = die ] && exit 9; echo $n; done";
    let _service = broker.serve("count", &["count", "--lines", "--", "sh", "-c", worker]);
    let count = || broker.ipcctl(["send", "count", "x"]).prints_text();
    assert_eq!([count(), count()], ["1", "2"]);
    assert!(broker.ipcctl(["send", "count", "die"]).run().refused(70).contains("exited with 9"));
    assert_eq!(count(), "1");
}

// ---- S12: one of many

#[test]
fn s12_a_call_by_number_reaches_only_that_peer() {
    let broker = Broker::start();
    let serve =
        || broker.ipcctl(["serve", "pool", "--shared", "--", "sh", "-c", "echo $PPID; echo x >>ran.$PPID"]).start();
    let services = [serve(), serve(), serve()];
    let members = || -> Vec<control::PeerRow> {
        broker.peers().into_iter().filter(|row| row.names.iter().any(|name| name.as_str() == "pool")).collect()
    };
    eventually(SOON, "three of a name", || members().len() == 3);
    let chosen = &members()[1];
    let answered = broker.ipcctl(["send", &format!("@{}", chosen.peer.0)]).prints_text();
    assert_eq!(answered.trim().parse(), Ok(chosen.pid.unwrap()));
    let ran: Vec<u32> = services
        .iter()
        .map(Running::pid)
        .filter(|pid| broker.directory().join(format!("ran.{pid}")).exists())
        .collect();
    assert_eq!(ran, [chosen.pid.unwrap()]);
}

#[test]
fn s12_a_call_by_number_to_a_peer_that_takes_none_fails() {
    let broker = Broker::start();
    let silent = Peer::connect(&broker);
    broker.ipcctl(["send", &silent.number().to_string()]).run().refused(68);
    broker.ipcctl(["send", "@4000000000"]).run().refused(68);
}

#[test]
fn s12_calls_to_a_shared_name_are_spread() {
    let broker = Broker::start();
    let serve = || broker.ipcctl(["serve", "pool", "--shared", "--", "sh", "-c", "echo $PPID"]).start();
    let services = [serve(), serve(), serve()];
    broker.wait_for("pool");
    eventually(SOON, "three of a name", || instances(&broker, "pool") == 3);
    let mut answered: Vec<u32> =
        (0..3).map(|_| broker.ipcctl(["send", "pool"]).prints_text().trim().parse().unwrap()).collect();
    answered.sort_unstable();
    let mut all: Vec<u32> = services.iter().map(Running::pid).collect();
    all.sort_unstable();
    assert_eq!(answered, all);
}

// ---- S13: whole messages through a socket that passes single bytes

#[test]
fn s13_messages_survive_a_socket_that_passes_single_bytes() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--", "cat"]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    crumble(&theirs, &UnixStream::connect(broker.socket()).unwrap());
    let client = Client::from_fd(ours.into()).unwrap();
    let body: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    for _ in 0..3 {
        assert_eq!(client.call_bytes(Request::new(target("echo"), body.clone())).unwrap().body, body);
    }
}

/// Passes bytes on one by one, in both directions.
fn crumble(a: &UnixStream, b: &UnixStream) {
    for (from, to) in [(a, b), (b, a)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let mut byte = [0];
            while from.read_exact(&mut byte).and_then(|()| to.write_all(&byte)).is_ok() {}
        });
    }
}

// ---- S14: a long connection and short ones

#[test]
fn s14_many_calls_on_one_connection_and_one_connection_for_each_call_give_the_same() {
    let broker = Broker::start();
    let _service =
        Service::new("double").address(&broker.address()).quick(|request: Double, _| double(request)).start().unwrap();
    let long = Client::connect_to(&broker.address()).unwrap();
    let on_one: Vec<u64> = (0..200).map(|of| long.call(&Double { of }).unwrap()).collect();
    let short = |of| Client::connect_to(&broker.address()).unwrap().call(&Double { of }).unwrap();
    let on_many: Vec<u64> = (0..200).map(short).collect();
    assert_eq!(on_one, on_many);
    eventually(AT_ONCE, "only service, client and this question", || broker.stat("connections") == 3);
}

// ---- S19: a load balancer in front of equal servers, and one of them dies

/// Appends the number it is called with to `ran`, and answers with the process of its server.
const COUNTED: &str = "read -r id; echo $id >>ran; echo $PPID";

/// What each call has ended with, by its number.
type Ends = BTreeMap<u64, ipc_client::Result<u32>>;

#[test]
fn s19_one_of_three_equal_servers_dies_under_load_and_each_call_ends_once_and_truly() {
    let broker = Broker::start();
    let serve = || broker.ipcctl(["serve", "pool", "--shared", "--jobs", "4", "--", "sh", "-c", COUNTED]).start();
    let [victim, second, third] = [serve(), serve(), serve()];
    broker.wait_for("pool");
    eventually(SOON, "three of a name", || instances(&broker, "pool") == 3);
    let client = Client::connect_to(&broker.address()).unwrap();
    let ends: Ends = thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|at| {
                scope.spawn({
                    let client = &client;
                    move || call_pool(client, at * 40..(at + 1) * 40)
                })
            })
            .collect();
        eventually(SOON, "servers at work", || ran(&broker).len() >= 60);
        victim.signal(Signal::SIGKILL);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(ends.len(), 240);
    assert_true(&ends, &ran(&broker));

    let after = call_pool(&client, 240..260);
    let servers: BTreeSet<u32> = after.into_values().map(|end| end.unwrap()).collect();
    assert_eq!(servers, BTreeSet::from([second.pid(), third.pid()]), "the survivors share the work");
}

pub(crate) fn instances(broker: &Broker, name: &str) -> usize {
    let shown: serde_json::Value = Peer::connect(broker).ask("show", &serde_json::json!({ "name": name }));
    shown["instances"].as_array().map_or(0, Vec::len)
}

fn call_pool(client: &Client, numbers: Range<u64>) -> Ends {
    let call = |number: u64| {
        let response = client.call_bytes(Request::new(target("pool"), format!("{number}\n")))?;
        Ok(String::from_utf8_lossy(&response.body).trim().parse().unwrap())
    };
    numbers.map(|number| (number, call(number))).collect()
}

/// The numbers of the calls that have run. A handler whose server was killed may have been given none.
fn ran(broker: &Broker) -> Vec<u64> {
    let log = fs::read_to_string(broker.directory().join("ran")).unwrap_or_default();
    log.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Asserts that what callers were told agrees with what has run.
#[track_caller]
fn assert_true(ends: &Ends, ran: &[u64]) {
    for (number, end) in ends {
        let runs = ran.iter().filter(|one| *one == number).count();
        let possible = match end {
            Ok(_) => 1..=1,
            Err(error) if error.retry() == Retry::Safe => 0..=0,
            Err(_) => 0..=1,
        };
        assert!(possible.contains(&runs), "call {number} ran {runs} times and ended with {end:?}");
        assert!(end.as_ref().err().is_none_or(|error| error.code() == ErrorCode::SERVICE_GONE), "{number}: {end:?}");
    }
}

// ---- S26, S27: options, help, limits. S15, S16, S25 and S28 are with the tests of their subject

// ---- S15: more clients at once than fit the queue

/// A process that opens `count` connections and keeps them.
fn crowd(scene: &Scene, count: usize) -> Command {
    scene.broker.crowd(env!("CARGO_BIN_EXE_crowd"), "connections", count)
}

#[test]
fn s15_five_thousand_connects_at_once_are_all_served_or_safely_refused() {
    let mut scene = Scene::at(Broker::in_process(""));
    let finished = crowd(&scene, 5_000).patience(Duration::from_secs(60)).run();
    let [welcomed, refused, other] = counts(&finished.stdout());
    assert_eq!((welcomed + refused, other), (5_000, 0), "{}", finished.stderr);
    assert!(welcomed > 0);
    scene.nothing_is_left();
}

#[test]
fn s15_a_backlog_of_one_refuses_no_connect_that_blocks() {
    let mut scene = Scene::with_config("[limits]\nbacklog = 1\n");
    let finished = crowd(&scene, 500).run();
    assert_eq!((finished.stdout().trim(), finished.stderr.as_str()), ("welcomed=500 refused=0 other=0", ""));
    scene.nothing_is_left();
}

// ---- S26, S27: options, help, limits. S15, S16 and S28 are with the tests of their subject

#[test]
fn s26_each_verb_has_help_with_an_example() {
    let help = Command::ipcctl(["--help"]).prints_text();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() >= 12 && verbs.contains(&"send") && verbs.contains(&"serve"), "{verbs:?}");
    for verb in verbs {
        let help = Command::ipcctl([verb, "--help"]).prints_text();
        let example = help.split_once("Example").map(|(_, example)| example).unwrap_or_default();
        assert!(example.contains(&format!("  ipcctl {verb}")), "{verb}: {help}");
        let help = Command::ipcctl(["help", verb]).prints_text();
        assert!(help.ends_with(example), "help {verb}: {help}");
    }
}

#[test]
fn s26_a_wrong_option_exits_2_and_names_the_closest_one() {
    let wrong = |arguments: &[&str]| Command::ipcctl(arguments).run().refused(2).to_owned();
    assert!(wrong(&["send", "--propagete", "x"]).contains("'--propagate'"));
    assert!(wrong(&["serve", "x", "--job", "3", "--", "cat"]).contains("'--jobs'"));
    assert!(wrong(&["sned", "x"]).contains("'send'"));
    assert!(wrong(&["serve", "x"]).contains("CMD"));
    assert!(wrong(&["send"]).contains("TARGET"));
    assert!(wrong(&["-t", "5", "send", "x"]).contains("unit"));
    assert!(wrong(&["send", "Not.A.Name", "x"]).contains("Not.A.Name"));
    assert!(wrong(&["-o", "yaml", "list"]).contains("json"));
    assert!(wrong(&["-q", "-v", "list"]).contains("-q"));
}

#[test]
fn s27_limits_are_configured_and_shown_with_their_use_and_peak() {
    let broker = Broker::with_config("[limits]\nunread_hard_bytes = 3000000\nbacklog = 17\nnames_per_peer = 5\n");
    let mut service = Peer::connect(&broker);
    service.register("one", 1);
    service.register("two", 1);
    let row = |name: &str| {
        let text = broker.ipcctl(["limits"]).prints_text();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("a row").to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("backlog")[..4], ["backlog", "17", "connections", "worst"]);
    assert_eq!(row("unread_hard_bytes")[..3], ["unread_hard_bytes", "3000000", "used"]);
    let names = broker.ipcctl(["-o", "json", "limits"]).prints_text();
    let names = names.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let names = names.into_iter().find(|row| row["name"] == "names_per_peer").unwrap();
    assert_eq!((&names["value"], &names["used"]), (&5.into(), &2.into()));
}

#[test]
fn s27_a_body_limit_is_stated_in_the_welcome_and_enforced() {
    let broker = Broker::with_config("[limits]\nbody_bytes = 1000\n");
    let _service = broker.serve("echo", &["echo", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "echo", "-"]).input(vec![b'x'; 1_000]).prints().len(), 1_000);
    let finished = broker.ipcctl(["send", "echo", "-"]).input(vec![b'x'; 1_001]).run();
    assert!(finished.refused(65).contains("too_large"), "{}", finished.stderr);
}

#[test]
fn a_datagram_socket_can_be_used_by_a_program_without_the_library() {
    let broker = Broker::start();
    let plain = UnixDatagram::unbound().unwrap();
    let call = ipc_protocol::Call { one_way: true, ..ipc_tests::peer::call(1, "nobody", "x") };
    plain.send_to(&ipc_protocol::Message::Call(call).to_vec(), broker.datagram_socket()).unwrap();
    broker.expect_stat("datagrams", 1);
}
