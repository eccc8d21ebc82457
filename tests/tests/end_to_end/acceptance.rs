//! The promises to a new user, as commands in a shell.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ipc_tests::{
    broker::Broker,
    command::{Command, Running, process},
    eventually::{SOON, eventually, eventually_some, within},
    payloads, proc,
    programs::Programs,
};
use nix::sys::signal::Signal;

// ---- ipcctl run

/// A shell script without a broker, with a directory of its own for temporary files.
fn without_broker(script: &str) -> (tempfile::TempDir, Command) {
    let place = tempfile::tempdir().unwrap();
    let command = Command::shell(script).env("TMPDIR", place.path()).directory(place.path());
    (place, command)
}

/// Asserts that the script has left no process, socket or file behind.
#[track_caller]
fn assert_nothing_left(place: &Path) {
    assert_eq!(proc::whose_environment_names(place), [0_u32; 0], "processes");
    let files: Vec<_> = fs::read_dir(place).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.is_empty(), "{files:?}");
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.contains(place.to_str().unwrap()), "a socket");
}

#[test]
fn a_private_broker_a_service_and_a_call_print_hello_and_leave_nothing() {
    let (place, command) =
        without_broker("ipcctl run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send --wait=5s upper hello'");
    assert_eq!(command.prints_text(), "HELLO");
    assert_nothing_left(place.path());
}

#[test]
fn run_exits_as_its_command_does() {
    assert_eq!(Command::ipcctl(["run", "--", "sh", "-c", "exit 42"]).run().code, 42);
    assert_eq!(Command::ipcctl(["run", "--", "sh", "-c", "kill -TERM $$"]).run().code, 143);
    assert_eq!(Command::ipcctl(["run", "--", "/no/such/program"]).run().code, 127);
    assert_eq!(Command::ipcctl(["run", "--", "/dev/null"]).run().code, 126);
}

#[test]
fn run_ends_what_its_command_leaves_running() {
    let (place, command) = without_broker("ipcctl run -- sh -c 'setsid sleep 971 & ipcctl serve x -- cat & exit 7'");
    assert_eq!(command.run().code, 7);
    assert_nothing_left(place.path());
}

#[test]
fn run_ends_everything_on_a_signal() {
    let (place, command) = without_broker("exec ipcctl run -- sh -c 'ipcctl serve x -- cat & echo started; wait'");
    let running = command.start();
    running.expect_output("started");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finish().code, 143);
    assert_nothing_left(place.path());
}

#[test]
fn services_end_with_a_private_broker_that_is_killed() {
    let (place, command) =
        without_broker("exec ipcctl run -- sh -c 'ipcctl serve x -- cat & ipcctl wait x; echo started; exec sleep 3'");
    let running = command.start();
    running.expect_output("started");
    running.signal(Signal::SIGKILL);
    let left = || proc::whose_environment_names(place.path());
    assert!(within(SOON, || left().is_empty()), "{:?}", left());
}

#[test]
fn commands_start_without_blocked_signals() {
    let broker = Broker::start();
    let blocked = "SigBlk:\t0000000000000000\n";
    assert_eq!(Command::ipcctl(["run", "--", "grep", "SigBlk", "/proc/self/status"]).prints_text(), blocked);
    let _once = broker.serve("once", &["once", "--", "grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(broker.ipcctl(["send", "once"]).prints_text(), blocked);
    let worker = "while read -r line; do grep SigBlk /proc/self/status; done";
    let _worker = broker.serve("worker", &["worker", "--lines", "--", "sh", "-c", worker]);
    assert_eq!(broker.ipcctl(["send", "worker", "x"]).prints_text(), blocked.trim_end());
}

#[test]
fn a_handler_has_time_to_clean_up_when_its_call_is_cancelled() {
    let broker = Broker::start();
    let script = broker.file("tidy.sh", "trap 'touch tidied; exit' TERM\ntouch begun\nwhile :; do sleep 0.01; done\n");
    let _service = broker.serve("tidy", &["tidy", "--", "sh", script.to_str().unwrap()]);
    let caller = broker.ipcctl(["send", "tidy"]).start();
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    caller.signal(Signal::SIGINT);
    caller.finish();
    eventually(SOON, "a handler that has cleaned up", || broker.directory().join("tidied").exists());
}

// ---- how a call ends

/// The service `slow`, whose handler reports that it has begun, and sleeps with a child of its own.
fn slow_service(broker: &Broker) -> Running {
    let script =
        broker.file("slow.sh", "echo $$ >>pids\nsleep 973 &\necho $! >>pids\ncat >/dev/null\ntouch begun\nwait\n");
    broker.serve("slow", &["slow", "--", "sh", script.to_str().unwrap()])
}

/// Waits for a handler to begin, and returns its processes.
fn handler_of(broker: &Broker) -> Vec<u32> {
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    let pids = fs::read_to_string(broker.directory().join("pids")).unwrap();
    let pids: Vec<u32> = pids.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    pids
}

#[track_caller]
fn gone_within_a_second(processes: &[u32]) {
    let left = || processes.iter().filter(|pid| proc::is_running(**pid)).count();
    assert!(within(Duration::from_secs(1), || left() == 0), "{} processes of the handler are left", left());
}

#[test]
fn a_call_to_a_killed_service_exits_74_at_once_and_says_that_it_may_have_run() {
    // A busy machine may delay one attempt, but not three.
    let quickest = (0..3).map(|_| killed_during_a_call()).min().unwrap();
    assert!(quickest <= Duration::from_millis(100), "{quickest:?}");
}

fn killed_during_a_call() -> Duration {
    let broker = Broker::start();
    let service = slow_service(&broker);
    let caller = broker.ipcctl(["send", "slow", "x"]).start();
    let handler = handler_of(&broker);
    let killed = Instant::now();
    service.signal(Signal::SIGKILL);
    let finished = caller.finish();
    let took = killed.elapsed();
    // With the service killed, only the test can end them.
    handler.iter().for_each(|pid| _ = nix::sys::signal::kill(process(*pid), Signal::SIGKILL));
    let line = finished.refused(74);
    assert!(line.starts_with("ipcctl: slow: service_gone: ") && line.contains("may have run"), "{line}");
    took
}

#[test]
fn without_a_service_it_exits_68_at_once() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["send", "nobody.here", "x"]).run();
    assert!(finished.refused(68).starts_with("ipcctl: nobody.here: no_service: "), "{}", finished.stderr);
    assert!(finished.took < Duration::from_secs(5), "{:?}", finished.took);
}

#[test]
fn without_a_broker_it_exits_69_and_names_the_path_and_a_remedy() {
    let finished = Command::ipcctl(["send", "upper", "x"]).socket("/nowhere/ipcd.sock").run();
    let line = finished.refused(69);
    assert!(
        line.contains("unavailable") && line.contains("/nowhere/ipcd.sock") && line.contains("ipcctl run"),
        "{line}"
    );
}

#[test]
fn a_deadline_exits_124_and_the_handlers_process_group_ends_within_a_second() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let caller = broker.ipcctl(["-t", "400ms", "send", "slow", "x"]).start();
    let handler = handler_of(&broker);
    let finished = caller.finish();
    assert!(finished.refused(124).contains("deadline"), "{}", finished.stderr);
    gone_within_a_second(&handler);
}

#[test]
fn a_deadline_of_200_ms_at_a_slow_service_exits_124() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let finished = broker.ipcctl(["send", "-t", "200ms", "slow", "x"]).run();
    finished.refused(124);
    assert!((Duration::from_millis(200)..Duration::from_secs(3)).contains(&finished.took), "{:?}", finished.took);
}

#[test]
fn ctrl_c_exits_130_and_the_handlers_process_group_ends_within_a_second() {
    if proc::ignores(Signal::SIGINT) {
        return ipc_tests::broker::skip("this process was started with SIGINT ignored");
    }
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let caller = broker.ipcctl(["send", "slow", "x"]).own_group().start();
    let handler = handler_of(&broker);
    caller.signal_group(Signal::SIGINT);
    let finished = caller.finish();
    assert_eq!(finished.signal, Some(Signal::SIGINT as i32), "a shell sees that it was Ctrl-C");
    assert_eq!((finished.code, finished.stdout.len()), (130, 0));
    gone_within_a_second(&handler);
}

#[test]
fn term_during_a_call_exits_143_and_ends_the_handler() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let caller = broker.ipcctl(["send", "slow", "x"]).start();
    let handler = handler_of(&broker);
    caller.signal(Signal::SIGTERM);
    assert_eq!(caller.finish().code, 143);
    gone_within_a_second(&handler);
}

#[test]
fn a_caller_that_is_killed_leaves_no_handler() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let caller = broker.ipcctl(["send", "slow", "x"]).start();
    let handler = handler_of(&broker);
    caller.signal(Signal::SIGKILL);
    caller.finish();
    gone_within_a_second(&handler);
}

#[test]
fn a_service_error_exits_1_and_its_text_is_the_error() {
    let broker = Broker::start();
    let _service = broker.serve("no", &["no", "--", "sh", "-c", "echo 'no such user: bob' >&2; exit 3"]);
    let finished = broker.ipcctl(["send", "no", "x"]).run();
    let line = finished.refused(1);
    assert!(line.starts_with("ipcctl: no: app_error: no such user: bob"), "{line}");
}

#[test]
fn with_propagate_the_exit_code_is_the_services_own() {
    let broker = Broker::start();
    let _service = broker.serve("no", &["no", "--", "sh", "-c", "echo 'no such user: bob' >&2; exit 3"]);
    let finished = broker.ipcctl(["send", "--propagate", "no", "x"]).run();
    assert!(finished.refused(3).contains("no such user: bob"), "{}", finished.stderr);
}

#[test]
fn a_handler_that_is_killed_exits_70() {
    let broker = Broker::start();
    let _service = broker.serve("suicidal", &["suicidal", "--", "sh", "-c", "kill -KILL $$"]);
    assert!(broker.ipcctl(["send", "suicidal"]).run().refused(70).contains("SIGKILL"));
}

#[test]
fn an_unknown_method_exits_67() {
    let (broker, _service) = calc();
    assert!(broker.ipcctl(["send", "calc.sqrt", "a:=1"]).run().refused(67).contains("no_method"));
}

#[test]
fn a_handler_that_panics_exits_70_and_the_service_lives() {
    let (broker, _service) = calc();
    assert!(broker.ipcctl(["send", "calc.factorial", "of:=100"]).run().refused(70).contains("internal"));
    assert_eq!(broker.ipcctl(["send", "calc.factorial", "of:=5"]).prints_text(), "120\n");
}

#[test]
fn an_error_of_a_typed_service_exits_1_with_its_text() {
    let (broker, _service) = calc();
    assert!(broker.ipcctl(["send", "calc.div", "a:=1", "b:=0"]).run().refused(1).contains("division by zero"));
}

// ---- one service, three encodings

/// A broker with the Rust service from the library's examples.
fn calc() -> (Broker, Running) {
    let broker = Broker::start();
    let service = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    (broker, service)
}

#[test]
fn members_json_text_and_the_rust_client_get_the_same_answer_from_the_same_service() {
    let (broker, _service) = calc();
    assert_eq!(broker.shell("ipcctl send calc.add a:=1 b:=2").prints_text(), "3\n");
    assert_eq!(broker.shell(r#"ipcctl send calc.add '{"a":1,"b":2}'"#).prints_text(), "3\n");
    let client = broker.example("calc_client", &[]);
    assert!(client.prints_text().starts_with("1 + 2 = 3\n"));
}

#[test]
fn a_wrong_field_exits_65_and_is_named() {
    let (broker, _service) = calc();
    let unknown = broker.shell("ipcctl send calc.add a:=1 bb:=2").run();
    assert!(unknown.refused(65).contains("bb"), "{}", unknown.stderr);
    let missing = broker.shell("ipcctl send calc.add a:=1").run();
    assert!(missing.refused(65).contains("`b`"), "{}", missing.stderr);
    let of_another_type = broker.shell("ipcctl send calc.add a:=1 b=two").run();
    assert!(of_another_type.refused(65).contains("b: "), "{}", of_another_type.stderr);
    let no_json = broker.shell("ipcctl send calc.add '{\"a\":1,'").run();
    no_json.refused(65);
}

#[test]
fn the_python_client_of_the_protocol_page_gets_the_same_answer() {
    if Command::shell("python3 -c ''").run().code != 0 {
        return ipc_tests::broker::skip("there is no python3");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("protocol.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, program) = page.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("```").expect("its end");
    let (broker, _service) = calc();
    let program = broker.file("client.py", program);
    let run = |argument: &str| {
        let arguments = ["client.py", "calc.add", argument];
        Command::new("python3", arguments).socket(broker.socket()).directory(program.parent().unwrap())
    };
    assert_eq!(run(r#"{"a": 1, "b": 2}"#).prints_text(), "3\n");
    let refused = run(r#"{"a": 1}"#).run();
    assert!(refused.stderr.contains("retry is safe") && refused.stderr.contains("`b`"), "{}", refused.stderr);
}

// ---- payloads

/// Sends each hostile payload in the given way, and asserts that it comes back unchanged.
#[track_caller]
fn come_back(send: impl Fn(&Broker, &[u8]) -> Option<Command>) -> usize {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--jobs", "8", "--", "cat"]);
    let mut count = 0;
    for payload in payloads::hostile() {
        let Some(command) = send(&broker, &payload) else { continue };
        let shown: Vec<u8> = payload.iter().copied().take(40).collect();
        assert!(command.prints() == payload, "{}", shown.escape_ascii());
        count += 1;
    }
    assert!(!Path::new("/tmp/ipcd-was-here").exists(), "a payload ran as a command");
    count
}

#[test]
fn payloads_that_break_shells_come_back_unchanged_from_standard_input() {
    let count = come_back(|broker, payload| Some(broker.ipcctl(["send", "echo", "-"]).input(payload)));
    assert!(count >= 100, "{count}");
}

#[test]
fn payloads_that_break_shells_come_back_unchanged_from_a_file() {
    let count = come_back(|broker, payload| {
        broker.file("payload", payload);
        Some(broker.ipcctl(["send", "echo", "@payload"]))
    });
    assert!(count >= 100, "{count}");
}

#[test]
fn payloads_that_break_shells_come_back_unchanged_from_an_argument() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let count = come_back(|broker, payload| {
        let argument = OsStr::from_bytes(payload);
        let arguments = ["send", "--raw", "echo", "--"].map(OsStr::new).into_iter().chain([argument]);
        payloads::fits_an_argument(payload).then(|| broker.ipcctl(arguments))
    });
    assert!(count >= 100, "{count}");
}

#[test]
fn a_payload_appears_on_no_command_line_and_in_no_environment() {
    let broker = Broker::start();
    let script = "cat /proc/$$/cmdline /proc/$$/environ; cat >/dev/null";
    let _service = broker.serve("spy", &["spy", "--", "sh", "-c", script]);
    let seen = broker.ipcctl(["send", "spy", "-"]).input("s3cr3t-payload").prints();
    assert!(!String::from_utf8_lossy(&seen).contains("s3cr3t"));
}

#[test]
fn a_call_one_byte_over_the_limit_is_too_large_and_has_not_run() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--", "cat"]);
    let finished = broker.ipcctl(["send", "echo", "-"]).input(vec![b'x'; (1 << 20) + 1]).run();
    let line = finished.refused(65);
    assert!(line.contains("too_large") && line.contains("it has not run"), "{line}");
}

// ---- lines

#[test]
fn lines_share_one_connection_and_are_answered_in_order() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let before = broker.stat("connections_accepted");
    assert_eq!(broker.shell(r"printf 'a\nb\nc\n' | ipcctl send upper --lines -").prints_text(), "A\nB\nC\n");
    assert_eq!(broker.stat("connections_accepted") - before, 2, "the command's and that of this question");
}

#[test]
fn a_worker_that_dies_fails_its_call_and_is_restarted() {
    let broker = Broker::start();
    let worker = r#"while read -r line; do [ "$line" = die ] && kill -KILL $$; echo "$$ $line"; done"#;
    let _service = broker.serve("worker", &["worker", "--lines", "--", "sh", "-c", worker]);
    let first = broker.ipcctl(["send", "worker", "one"]).prints_text();
    let second = broker.ipcctl(["send", "worker", "two"]).prints_text();
    assert_eq!(first.split_once(' ').unwrap().0, second.split_once(' ').unwrap().0, "one worker answers both");
    assert!(broker.ipcctl(["send", "worker", "die"]).run().refused(70).contains("SIGKILL"));
    let third = broker.ipcctl(["send", "worker", "three"]).prints_text();
    assert!(third.trim_end().ends_with(" three"), "{third}");
    assert_ne!(first.split_once(' ').unwrap().0, third.split_once(' ').unwrap().0);
}

// ---- datagrams

#[test]
fn a_datagram_is_answered() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    assert_eq!(broker.shell("ipcctl send --datagram upper hi").prints_text(), "HI");
}

#[test]
fn a_one_way_datagram_does_not_wait() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    let finished = broker.shell("ipcctl send --oneway --datagram slow hi").run();
    assert_eq!((finished.code, finished.stdout.len()), (0, 0), "{}", finished.stderr);
    handler_of(&broker);
}

#[test]
fn a_datagram_to_a_missing_service_is_counted() {
    let broker = Broker::start();
    assert_eq!(broker.shell("ipcctl send --oneway --datagram nobody hi").run().code, 0);
    broker.expect_stat("datagrams_refused", 1);
    let stats = broker.ipcctl(["stats"]).prints_text();
    let row = stats.lines().find(|line| line.starts_with("datagrams_refused ")).expect("a row");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["datagrams_refused", "1"]);
}

#[test]
fn a_datagram_call_to_a_missing_service_exits_68() {
    let broker = Broker::start();
    broker.shell("ipcctl send --datagram nobody hi").run().refused(68);
}

#[test]
fn a_one_way_call_returns_once_the_broker_has_accepted_it() {
    let broker = Broker::start();
    let _service = slow_service(&broker);
    assert_eq!(broker.ipcctl(["send", "--oneway", "slow", "x"]).prints_text(), "");
    handler_of(&broker);
    broker.ipcctl(["send", "--oneway", "nobody", "x"]).run().refused(68);
}

// ---- the first command of the README

#[test]
fn the_first_example_shows_calls_between_a_shell_and_a_rust_service() {
    let programs = Programs::get();
    let target = programs.directory.parent().expect("a target directory");
    let release = target.join("release/examples/calc_service");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    if !release.exists() {
        return ipc_tests::broker::skip("the example builds for release, which takes minutes the first time");
    }
    let shown = Command::ipcctl(["run", "examples/hello.sh"]).directory(root).env("CARGO_TARGET_DIR", target);
    let finished = shown.patience(Duration::from_secs(120)).run();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    eventually_some(SOON, "its output", || finished.stdout().contains("HELLO").then_some(()));
}
