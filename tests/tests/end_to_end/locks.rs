//! Locks: who holds them, who gets them next, and what becomes of a command whose holder or broker dies.

use std::{fs, path::Path, thread, time::Duration};

use ipc_client::{Client, ErrorCode};
use ipc_protocol::control;
use ipc_tests::{
    broker::{Broker, is_soak, skip},
    command::{Command, Running},
    eventually::{SOON, eventually, eventually_some},
    proc,
};
use nix::sys::signal::{Signal, kill};

/// A command that runs under a lock until the file `go` is there.
const UNTIL_GO: &str = "echo held; while [ ! -e go ]; do sleep 0.01; done";

fn lock(broker: &Broker, arguments: &[&str]) -> Command {
    broker.ipcctl(["lock"].iter().chain(arguments)).directory(broker.directory())
}

/// A process that holds a lock until the file `go` is there.
fn holder(broker: &Broker, name: &str) -> Running {
    let running = lock(broker, &[name, "--", "sh", "-c", UNTIL_GO]).start();
    running.expect_output("held");
    running
}

fn go(broker: &Broker) {
    broker.file("go", "");
}

/// A lock as the broker shows it, if anybody holds it.
fn shown(broker: &Broker, name: &str) -> Option<control::LockShown> {
    let client = Client::connect_to(&broker.address()).unwrap();
    let request = control::Show { name: name.parse().unwrap() };
    client.ask::<control::operation::Show>(&request, None).ok().and_then(|shown| shown.lock)
}

fn await_line(broker: &Broker, name: &str, waiters: u32) {
    eventually(SOON, "a line of that length", || shown(broker, name).is_some_and(|lock| lock.waiters == waiters));
}

// ---- S24: a mutex between processes

#[test]
fn s24_a_lock_is_a_mutex_between_processes_in_order_of_arrival() {
    let broker = Broker::start();
    let first = holder(&broker, "job");
    let waiting: Vec<Running> = (1..=3)
        .map(|number| {
            let running = lock(&broker, &["job", "--", "sh", "-c", &format!("echo {number} >> order")]).start();
            await_line(&broker, "job", number);
            running
        })
        .collect();
    assert!(!broker.directory().join("order").exists());

    go(&broker);

    assert_eq!(first.finish().code, 0);
    waiting.into_iter().for_each(|running| assert_eq!(running.finish().code, 0));
    assert_eq!(fs::read_to_string(broker.directory().join("order")).unwrap(), "1\n2\n3\n");
    assert_eq!(shown(&broker, "job"), None);
}

#[test]
fn s24_a_lock_is_released_when_its_holder_dies_and_its_command_dies_first() {
    let broker = Broker::start();
    let script = "echo $$ > pid; echo held; while :; do sleep 0.01; done";
    let mut holder = lock(&broker, &["job", "--", "sh", "-c", script]).start();
    holder.expect_output("held");
    let command = number_in(&broker.directory().join("pid"));
    let is_dead = format!("! grep -q '^State:[[:space:]]*[RSDT]' /proc/{command}/status");
    let next = lock(&broker, &["job", "--", "sh", "-c", &is_dead]).start();
    await_line(&broker, "job", 1);

    holder.signal(Signal::SIGKILL);

    assert_eq!(next.finish().code, 0, "the command was alive beside the next holder");
    assert!(!holder.is_running());
}

#[test]
fn s24_wait_and_lock_are_enough_for_a_condition_variable() {
    let broker = Broker::start();
    let consumer =
        broker.shell("ipcctl wait ready && ipcctl lock job -- cat item").directory(broker.directory()).start();
    let producer = lock(&broker, &["job", "--", "sh", "-c", "echo made > item"]).run();
    assert_eq!(producer.code, 0);

    let _signal = broker.serve("ready", &["ready", "--", "true"]);

    assert_eq!(consumer.finish().stdout(), "made\n");
}

// ---- the command

#[test]
fn the_exit_code_and_the_streams_are_those_of_the_command() {
    let broker = Broker::start();

    let finished = lock(&broker, &["job", "--", "sh", "-c", "tr a-z A-Z; exit 7"]).input("text").run();

    assert_eq!((finished.code, finished.stdout().as_str(), finished.stderr.as_str()), (7, "TEXT", ""));
}

#[test]
fn a_lock_that_is_held_is_busy_for_one_who_only_tries() {
    let broker = Broker::start();
    let _holder = holder(&broker, "job");

    let refused = lock(&broker, &["job", "--try", "--", "touch", "ran"]).run();

    assert!(refused.refused(75).contains("ipcctl show job"));
    assert!(!broker.directory().join("ran").exists());
}

#[test]
fn one_who_waits_too_long_for_a_lock_ends_with_124() {
    let broker = Broker::start();
    let _holder = holder(&broker, "job");

    let by_option = lock(&broker, &["job", "--wait=50ms", "--", "touch", "ran"]).run();
    let by_time = lock(&broker, &["-t", "50ms", "job", "--", "touch", "ran"]).run();

    by_option.refused(124);
    by_time.refused(124);
    assert!(!broker.directory().join("ran").exists());
}

#[test]
fn a_command_that_cannot_run_takes_no_lock() {
    let broker = Broker::start();

    lock(&broker, &["job", "--", "./nowhere"]).run().refused(127);
    lock(&broker, &["job", "--", "/"]).run().refused(126);

    assert_eq!(shown(&broker, "job"), None);
}

#[test]
fn a_shared_lock_has_as_many_holders_as_it_says() {
    let broker = Broker::start();
    let shared = |what: &[&str]| lock(&broker, &[&["gpu", "--shared", "2"][..], what].concat());
    let holders = [(); 2].map(|()| shared(&["--", "sh", "-c", UNTIL_GO]).start());
    holders.iter().for_each(|holder| drop(holder.expect_output("held")));

    shared(&["--try", "--", "true"]).run().refused(75);
    lock(&broker, &["gpu", "--", "true"]).run().refused(65);

    go(&broker);
    holders.into_iter().for_each(|holder| assert_eq!(holder.finish().code, 0));
}

#[test]
fn a_signal_goes_to_the_command_and_the_lock_is_held_until_it_ends() {
    let broker = Broker::start();
    let script = "trap 'echo last > end; exit 3' TERM; echo held; while :; do sleep 0.01; done";
    let holder = lock(&broker, &["job", "--", "sh", "-c", script]).start();
    holder.expect_output("held");
    let next = lock(&broker, &["job", "--", "cat", "end"]).start();
    await_line(&broker, "job", 1);

    holder.signal(Signal::SIGTERM);

    assert_eq!(holder.finish().code, 3);
    assert_eq!(next.finish().stdout(), "last\n");
}

#[test]
fn what_a_command_leaves_running_does_not_hold_the_lock() {
    let broker = Broker::start();
    let left = "sleep 60 > /dev/null 2>&1 & echo $! > pid";

    assert_eq!(lock(&broker, &["job", "--", "sh", "-c", left]).run().code, 0);

    assert_eq!(lock(&broker, &["job", "--try", "--", "true"]).run().code, 0);
    let left = number_in(&broker.directory().join("pid"));
    assert!(proc::is_running(u32::try_from(left).unwrap()));
    kill(nix::unistd::Pid::from_raw(left), Signal::SIGKILL).unwrap();
}

#[test]
fn a_command_gets_term_when_the_broker_takes_the_lock_with_it() {
    let mut broker = Broker::start();
    let script = "trap 'echo asked > end; exit 0' TERM; echo held; while :; do sleep 0.01; done";
    let holder = lock(&broker, &["job", "--", "sh", "-c", script]).start();
    holder.expect_output("held");

    match broker.daemon() {
        Some(daemon) => daemon.kill(),
        None => return skip("it kills the broker"),
    }

    let finished = holder.finish();
    assert_eq!(finished.code, 74);
    assert!(finished.stderr.contains("ipcctl: job: broker_lost: "), "{}", finished.stderr);
    assert_eq!(finished.stderr.lines().count(), 1);
    assert_eq!(fs::read_to_string(broker.directory().join("end")).unwrap(), "asked\n");
}

#[test]
fn show_prints_who_holds_a_lock_and_who_waits() {
    let broker = Broker::start();
    let holder = holder(&broker, "job");
    let waiting = lock(&broker, &["job", "--", "true"]).start();
    await_line(&broker, "job", 1);

    let text = broker.ipcctl(["show", "job"]).prints_text();
    let json = broker.ipcctl(["-o", "json", "show", "job"]).prints_text();

    let line =
        |name: &str, pid: u32| text.lines().any(|line| line.starts_with(name) && line.contains(&format!("pid {pid},")));
    assert!(line("holder", holder.pid()) && line("waiting", waiting.pid()), "{text}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["lock"]["holders"][0]["pid"], holder.pid());
    assert_eq!(json["lock"]["waiting"][0]["pid"], waiting.pid());
    go(&broker);
    assert_eq!((holder.finish().code, waiting.finish().code), (0, 0));
}

// ---- the library

#[test]
fn a_guard_gives_its_lock_back_when_it_is_dropped() {
    let broker = Broker::in_process("");
    let [one, two] = [(); 2].map(|()| Client::connect_to(&broker.address()).unwrap());
    let guard = one.lock("job").unwrap();
    assert!(guard.is_held() && two.locking("job").try_take().unwrap().is_none());

    let waiting = thread::spawn(move || two.lock("job").unwrap().is_held());
    await_line(&broker, "job", 1);
    drop(guard);

    assert!(waiting.join().unwrap());
    assert!(one.lock("job").is_ok(), "by the same client, again");
}

#[test]
fn a_guard_knows_that_its_broker_has_gone_and_takes_nothing_on_a_new_connection() {
    let mut broker = Broker::in_process("");
    let client = Client::connect_to(&broker.address()).unwrap();
    let guard = client.lock("job").unwrap();

    broker.restart();

    eventually(SOON, "a guard without its lock", || !guard.is_held());
    client.ping().unwrap();
    assert!(!guard.is_held());
    assert_eq!(shown(&broker, "job"), None);
    assert_eq!(guard.release().unwrap_err().code(), ErrorCode::BROKER_LOST);
    assert!(client.lock("job").is_ok());
}

#[test]
fn threads_with_one_client_are_told_that_it_holds_the_lock() {
    let broker = Broker::in_process("");
    let client = Client::connect_to(&broker.address()).unwrap();
    let _guard = client.lock("job").unwrap();

    let again = client.locking("job").timeout(Duration::from_secs(1)).take();

    assert_eq!(again.unwrap_err().code(), ErrorCode::INVALID);
    assert_eq!(client.lock("not a name").unwrap_err().code(), ErrorCode::USAGE);
}

#[test]
fn a_wait_for_a_lock_that_is_over_leaves_nothing_behind() {
    let broker = Broker::in_process("");
    let [one, two] = [(); 2].map(|()| Client::connect_to(&broker.address()).unwrap());
    let guard = one.lock("job").unwrap();

    let late = two.locking("job").timeout(Duration::from_millis(20)).take();

    assert_eq!(late.unwrap_err().code(), ErrorCode::DEADLINE);
    await_line(&broker, "job", 0);
    guard.release().unwrap();
    assert_eq!(shown(&broker, "job"), None);
}

// ---- many

/// What becomes of one of the fifty processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ends,
    /// Killed while it waits for the lock.
    DiesInLine,
    /// Killed while it holds the lock, which it would hold for ever.
    DiesInside,
}

/// Fifty processes, each with a critical section of 10 ms that writes down its beginning and its end. Some are killed.
fn crowd(seed: u64) {
    let broker = Broker::start();
    let gate = holder(&broker, "job");
    let log = broker.directory().join("log");
    let fates = fates(seed);
    let crowd: Vec<(u32, Fate, Running)> = (1..)
        .zip(fates)
        .map(|(number, fate)| {
            let inside = if fate == Fate::DiesInside { "while :; do sleep 0.01; done" } else { "sleep 0.01" };
            let script = format!("echo begin {number} >> log; {inside}; echo end {number} >> log");
            let command = lock(&broker, &["job", "--wait", "--", "sh", "-c", &script]);
            let running = command.patience(LATER).start();
            await_line(&broker, "job", number);
            (number, fate, running)
        })
        .collect();
    let of = |fate: Fate| crowd.iter().filter(move |(_, its, _)| *its == fate);
    of(Fate::DiesInLine).for_each(|(_, _, running)| running.signal(Signal::SIGKILL));
    await_line(&broker, "job", 50 - u32::try_from(of(Fate::DiesInLine).count()).unwrap());
    go(&broker);
    for (number, _, running) in of(Fate::DiesInside) {
        eventually(LATER, "its turn", || lines(&log).contains(&format!("begin {number}")));
        running.signal(Signal::SIGKILL);
    }
    assert_eq!(gate.finish().code, 0);
    let expected: Vec<String> = crowd.iter().flat_map(|(number, fate, _)| expected_of(*number, *fate)).collect();
    for (number, fate, running) in crowd {
        let code = if fate == Fate::Ends { 0 } else { 128 + 9 };
        assert_eq!(running.finish().code, code, "{number}, which {fate:?}");
    }
    assert_eq!(lines(&log), expected, "in order of arrival, and one after another");
    eventually(SOON, "a lock that nobody holds", || shown(&broker, "job").is_none()); // the last may have been killed
}

/// The lines of a section, between which no other process writes any.
fn expected_of(number: u32, fate: Fate) -> Vec<String> {
    let (begin, end) = (format!("begin {number}"), format!("end {number}"));
    match fate {
        Fate::Ends => vec![begin, end],
        Fate::DiesInside => vec![begin],
        Fate::DiesInLine => vec![],
    }
}

fn fates(seed: u64) -> Vec<Fate> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut dice = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % 8
    };
    let fate = |_| match dice() {
        0 => Fate::DiesInLine,
        1 | 2 => Fate::DiesInside,
        _ => Fate::Ends,
    };
    (0..50).map(fate).collect()
}

fn lines(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn number_in(file: &Path) -> i32 {
    eventually_some(SOON, "a number", || fs::read_to_string(file).ok()?.trim().parse().ok())
}

/// A lock that fifty processes wait for goes round in half a second, and on a busy machine in many.
const LATER: Duration = Duration::from_secs(60);

#[test]
fn s24_fifty_processes_are_never_in_their_section_two_at_once_though_holders_are_killed() {
    crowd(1);
}

#[test]
fn s24_fifty_processes_and_killed_holders_again_and_again() {
    if !is_soak() {
        return skip("it repeats another test 20 times: IPCD_SOAK=1");
    }
    (2..22).for_each(crowd);
}
