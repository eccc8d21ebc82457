//! `ipcctl serve`: how it comes to its name, how it runs its command, and how it ends.

use std::fs;

use ipc_tests::{
    broker::{AT_ONCE, Broker},
    command::Running,
    eventually::{SOON, eventually, eventually_some},
    proc,
};
use nix::sys::signal::Signal;

// ---- what it is given

#[test]
fn the_longest_time_for_a_command_is_no_trouble() {
    let broker = Broker::start();
    let _service = broker.serve("x", &["x", "--timeout", "18000000000000000000s", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "x", "hello"]).prints_text(), "hello");
    let _lines = broker.serve("y", &["y", "--timeout", "18000000000000000000s", "--lines", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "y", "hello"]).prints_text(), "hello");
}

#[test]
fn the_command_is_told_how_long_it_has() {
    let broker = Broker::start();
    let _service = broker.serve("told", &["told", "--timeout", "5s", "--", "sh", "-c", "echo $IPC_DEADLINE_MS"]);
    let told = |time: &str| broker.ipcctl(["send", "-t", time, "told"]).prints_text().trim().parse::<u64>().unwrap();
    let (by_caller, by_service) = (told("2s"), told("20s"));
    assert!((1..=2_000).contains(&by_caller), "{by_caller}");
    assert!((1..=5_000).contains(&by_service), "{by_service}");
}

// ---- what a command answers

#[test]
fn what_a_filter_behind_the_command_writes_belongs_to_the_reply() {
    let broker = Broker::start();
    let script = "exec > >(sleep 0.2; tr a-z A-Z); cat";
    let _service = broker.serve("filtered", &["filtered", "--", "bash", "-c", script]);
    assert_eq!(broker.ipcctl(["send", "filtered", "hello"]).prints_text(), "HELLO");
}

#[test]
fn a_process_that_a_command_leaves_behind_does_not_hold_up_the_reply() {
    let broker = Broker::start();
    let _service = broker.serve("leaves", &["leaves", "--", "sh", "-c", "sleep 951 & echo done"]);
    let finished = broker.ipcctl(["send", "leaves"]).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "done\n"));
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn with_plain_exit_each_exit_code_is_the_commands_own() {
    let broker = Broker::start();
    let _service = broker.serve("exit", &["exit", "--plain-exit", "--", "sh", "-c", "exit $(cat)"]);
    let sent = |code: &str| broker.ipcctl(["-o", "json", "send", "exit", code]).run();
    let told = |code: &str| {
        let finished = sent(code);
        let line: serde_json::Value = serde_json::from_str(&finished.stderr).unwrap();
        (finished.code, line["error"].to_string(), line["app_code"].to_string())
    };
    for code in ["1", "63", "65", "75", "77", "127", "255"] {
        assert_eq!(told(code), (1, r#""app_error""#.to_owned(), code.to_owned()));
    }
    assert_eq!(sent("0").code, 0);
}

#[test]
fn a_worker_that_took_the_line_and_wrote_none_is_asked_whether_it_flushes() {
    let broker = Broker::start();
    let _service = broker.serve("buffers", &["buffers", "--lines", "--", "tr", "a-z", "A-Z"]);
    let finished = broker.ipcctl(["send", "-t", "1s", "buffers", "hello"]).run();
    assert!(finished.refused(124).contains("does it flush"), "{}", finished.stderr);
}

// ---- how it ends

/// A broker, and a service whose handler has begun and will not end by itself. The handler's two processes come with it.
fn busy_service() -> (Broker, Running, Running, Vec<u32>) {
    let broker = Broker::start();
    let script = "echo $$ >>pids; sleep 952 & echo $! >>pids; touch begun; wait";
    let service = broker.serve("busy", &["busy", "--", "sh", "-c", script]);
    let caller = broker.ipcctl(["send", "busy"]).start();
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    let pids = fs::read_to_string(broker.directory().join("pids")).unwrap();
    let pids = pids.lines().map(|line| line.parse().unwrap()).collect();
    (broker, service, caller, pids)
}

#[track_caller]
fn all_end(pids: &[u32]) {
    eventually(SOON, "the end of the handler", || !pids.iter().any(|pid| proc::is_running(*pid)));
}

#[test]
fn a_service_that_is_killed_takes_its_handlers_along() {
    let (_broker, service, _caller, handler) = busy_service();
    service.signal(Signal::SIGKILL);
    all_end(&handler);
}

#[test]
fn a_service_that_dies_of_another_signal_takes_its_handlers_along() {
    let (_broker, service, _caller, handler) = busy_service();
    service.signal(Signal::SIGUSR1);
    all_end(&handler);
    assert_eq!(service.finish().signal, Some(Signal::SIGUSR1 as i32));
}

#[test]
fn a_worker_does_not_outlive_a_service_that_is_killed() {
    let broker = Broker::start();
    let script = "trap '' TERM; echo $$ >pid; while :; do sleep 0.1; done";
    let service = broker.serve("worker", &["worker", "--lines", "--", "sh", "-c", script]);
    let pid = eventually_some(SOON, "a worker", || {
        fs::read_to_string(broker.directory().join("pid")).ok()?.trim().parse().ok()
    });
    service.signal(Signal::SIGKILL);
    all_end(&[pid]);
}

#[test]
fn a_service_that_has_ended_leaves_no_process() {
    let broker = Broker::start();
    let service = broker.serve("x", &["x", "--", "cat"]);
    broker.ipcctl(["send", "x", "hello"]).prints();
    service.signal(Signal::SIGTERM);
    assert_eq!(service.finish().code, 0);
    let services = |pids: Vec<u32>| pids.into_iter().filter(|pid| proc::is_running(*pid)).collect::<Vec<_>>();
    let daemon = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ipcd\n");
    let left = services(proc::whose_environment_names(broker.directory()));
    assert_eq!(left.into_iter().filter(|pid| !daemon(pid)).collect::<Vec<_>>(), Vec::<u32>::new());
}
