//! `ipcctl serve`: how it registers its name, runs its command, and ends.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_tests::{
    broker::{AT_ONCE, Broker},
    command::{Command, Running},
    eventually::{SOON, eventually, eventually_some},
    proc,
    programs::Programs,
};
use nix::sys::signal::Signal;

/// A directory where no broker runs yet.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("ipcd.sock")
    }

    fn ipcctl(&self, arguments: &[&str]) -> Command {
        Command::ipcctl(arguments).socket(self.socket()).directory(self.0.path())
    }

    fn start_broker(&self) -> Running {
        let broker = Command::new(&Programs::get().ipcd, [Path::new("--socket"), &self.socket()]).start();
        broker.expect_output("ipcd: ready on ");
        broker
    }
}

/// Waits until `ipcctl serve` handles signals itself, and so blocks TERM.
#[track_caller]
fn holds_signals(service: &Running) {
    eventually(SOON, "a service that holds signals back", || proc::holds_back(service.pid(), Signal::SIGTERM));
}

// ---- before there is a broker

#[test]
fn a_service_that_starts_before_its_broker_waits_for_it() {
    let place = Place::new();
    let service = place.ipcctl(&["serve", "upper", "--", "tr", "a-z", "A-Z"]).start();
    service.expect_error("waiting for a broker");
    let _broker = place.start_broker();
    assert_eq!(place.ipcctl(&["send", "--wait=20s", "upper", "hello"]).prints_text(), "HELLO");
    service.signal(Signal::SIGTERM);
    let finished = service.finish();
    assert_eq!((finished.code, finished.stderr.lines().count()), (0, 1), "{}", finished.stderr);
}

#[test]
fn a_pasted_tour_works() {
    let place = Place::new();
    let script = "ipcd --socket $IPCD_SOCKET >/dev/null & broker=$!; ipcctl serve upper -- tr a-z A-Z & service=$!; \
                  ipcctl send --wait=20s upper hello; kill $service; wait $service; kill $broker; wait";
    let tour = Command::shell(script).socket(place.socket()).directory(place.0.path());
    assert_eq!(tour.prints_text(), "HELLO");
}

#[test]
fn a_service_told_not_to_wait_fails_at_once_without_a_broker() {
    let place = Place::new();
    for option in ["--no-wait", "--wait=0s"] {
        let finished = place.ipcctl(&["serve", option, "upper", "--", "cat"]).run();
        finished.refused(69);
        assert!(finished.took < AT_ONCE, "{option}: {:?}", finished.took);
    }
}

#[test]
fn waiting_for_a_broker_ends() {
    let place = Place::new();
    let finished = place.ipcctl(&["serve", "--wait=300ms", "upper", "--", "cat"]).run();
    finished.refused(69);
    assert!(finished.took >= Duration::from_millis(300) && finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn waiting_for_a_broker_ends_at_the_timeout() {
    let place = Place::new();
    let finished = place.ipcctl(&["-t", "300ms", "serve", "upper", "--", "cat"]).run();
    finished.refused(69);
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn a_service_that_waits_for_a_broker_ends_on_term() {
    let place = Place::new();
    let service = place.ipcctl(&["serve", "upper", "--", "cat"]).start();
    holds_signals(&service);
    service.signal(Signal::SIGTERM);
    let finished = service.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn waiting_for_a_broker_uses_no_cpu() {
    let place = Place::new();
    let service = place.ipcctl(&["serve", "upper", "--", "cat"]).start();
    service.expect_error("waiting for a broker");
    assert!(proc::cpu_ticks(service.pid()) < 20, "a tick is 10 ms");
}

#[test]
fn two_signals_end_a_service_that_waits_as_one_does() {
    let place = Place::new();
    let service = place.ipcctl(&["serve", "upper", "--", "cat"]).start();
    service.expect_error("waiting for a broker");
    service.signal(Signal::SIGSTOP);
    eventually(SOON, "a stopped service", || proc::state(service.pid()) == Some('T'));
    service.signal(Signal::SIGTERM);
    service.signal(Signal::SIGINT);
    service.signal(Signal::SIGCONT);
    let finished = service.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

// ---- at a broker that does not answer

#[test]
fn a_service_without_an_answer_ends_on_term() {
    let mut broker = Broker::in_process("");
    broker.daemon().unwrap().pause();
    let service = broker.ipcctl(["serve", "upper", "--", "cat"]).start();
    holds_signals(&service);
    service.signal(Signal::SIGINT);
    let finished = service.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn the_timeout_holds_for_the_registration() {
    let mut broker = Broker::in_process("");
    broker.daemon().unwrap().pause();
    let finished = broker.ipcctl(["serve", "-t", "300ms", "upper", "--", "cat"]).run();
    assert!(finished.refused(124).contains("300ms"), "{}", finished.stderr);
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn a_service_at_a_stopped_broker_ends_on_a_second_signal() {
    let mut broker = Broker::in_process("");
    let service = broker.serve("upper", &["upper", "--", "cat"]);
    broker.daemon().unwrap().pause();
    let asked = std::time::Instant::now();
    service.signal(Signal::SIGTERM);
    service.signal(Signal::SIGINT);
    assert_eq!(service.finish().code, 0);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
}

#[test]
fn the_loss_and_the_return_of_the_broker_are_reported() {
    let mut broker = Broker::in_process("");
    let service = broker.serve("upper", &["upper", "--", "cat"]);
    broker.daemon().unwrap().kill();
    service.expect_error("upper: the broker is gone");
    broker.start_again();
    service.expect_error("upper: registered again");
}

#[test]
fn a_name_that_was_taken_meanwhile_is_reported() {
    let mut broker = Broker::in_process("");
    let service = broker.serve("upper", &["upper", "--", "cat"]);
    service.signal(Signal::SIGSTOP);
    broker.restart();
    let _thief = broker.serve("upper", &["upper", "--", "cat"]);
    service.signal(Signal::SIGCONT);
    service.expect_error("name_taken");
    assert_eq!(service.finish().code, 73);
}

// ---- its options and limits

#[test]
fn the_longest_timeout_for_a_command_works() {
    let broker = Broker::start();
    let _service = broker.serve("x", &["x", "--timeout", "18000000000000000000s", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "x", "hello"]).prints_text(), "hello");
    let _lines = broker.serve("y", &["y", "--timeout", "18000000000000000000s", "--lines", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "y", "hello"]).prints_text(), "hello");
}

#[test]
fn with_few_threads_left_it_runs_fewer_jobs_and_says_so() {
    let broker = Broker::start();
    // Each thread needs 2 MiB of address space for its stack.
    let script = "ulimit -v 400000; exec ipcctl serve few --jobs 1000 -- cat";
    let service = broker.shell(script).start();
    broker.wait_for("few");
    service.expect_error("calls at once instead of 1000");
    let calls = vec!["x"; 500].join("\n");
    let answers = broker.ipcctl(["send", "few", "--lines", "-"]).input(calls.clone()).prints_text();
    assert_eq!(answers.trim_end(), calls);
}

#[test]
fn with_more_jobs_than_threads_it_runs_as_many_as_it_can() {
    let broker = Broker::start();
    let service = broker.serve("many", &["many", "--jobs", "20000", "--", "cat"]);
    service.expect_error("calls at once instead of 20000");
    assert_eq!(broker.ipcctl(["send", "many", "x"]).prints_text(), "x");
}

#[test]
fn the_command_receives_its_deadline() {
    let broker = Broker::start();
    let _service = broker.serve("told", &["told", "--timeout", "5s", "--", "sh", "-c", "echo $IPC_DEADLINE_MS"]);
    let told = |time: &str| broker.ipcctl(["send", "-t", time, "told"]).prints_text().trim().parse::<u64>().unwrap();
    let (by_caller, by_service) = (told("2s"), told("20s"));
    assert!((1..=2_000).contains(&by_caller), "{by_caller}");
    assert!((1..=5_000).contains(&by_service), "{by_service}");
}

#[test]
fn the_list_of_peers_names_the_command() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let agents: Vec<String> = broker.peers().into_iter().map(|peer| peer.agent).collect();
    assert!(agents.contains(&"ipcctl serve upper: tr a-z A-Z".to_owned()), "{agents:?}");
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
fn a_process_left_behind_by_a_command_does_not_delay_the_reply() {
    let broker = Broker::start();
    let _service = broker.serve("leaves", &["leaves", "--", "sh", "-c", "sleep 951 & echo done"]);
    let finished = broker.ipcctl(["send", "leaves"]).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "done\n"));
    assert!(finished.took < AT_ONCE, "{:?}", finished.took);
}

#[test]
fn a_command_that_has_disappeared_is_busy_with_a_reason() {
    let broker = Broker::start();
    let command = broker.file("command", "#!/bin/sh\ncat\n");
    fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
    let _service = broker.serve("gone", &["gone", "--", "./command"]);
    fs::remove_file(&command).unwrap();
    let finished = broker.ipcctl(["send", "gone"]).run();
    let line = finished.refused(75);
    assert!(line.contains("No such file or directory") && !line.contains("os error"), "{line}");
}

#[test]
fn with_plain_exit_each_exit_code_is_an_application_error() {
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
fn a_worker_that_reads_a_line_and_writes_none_hints_at_flushing() {
    let broker = Broker::start();
    let _service = broker.serve("buffers", &["buffers", "--lines", "--", "tr", "a-z", "A-Z"]);
    let finished = broker.ipcctl(["send", "-t", "1s", "buffers", "hello"]).run();
    assert!(finished.refused(124).contains("does it flush"), "{}", finished.stderr);
}

#[test]
fn the_examples_of_the_help_work() {
    let broker = Broker::start();
    let help = Command::ipcctl(["serve", "--help"]).prints_text();
    let (_, examples) = help.split_once("Examples:\n").expect("examples at the end");
    let examples: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let names: Vec<&str> =
        examples.iter().map(|line| line.split(' ').skip_while(|word| *word != "serve").nth(1).unwrap()).collect();
    let _services: Vec<_> = examples.iter().map(|line| broker.shell(&format!("exec {line}")).start()).collect();
    names.iter().for_each(|name| broker.wait_for(name));
    let sent = |name: &str| broker.ipcctl(["send", name, "  hello"]).prints_text();
    assert_eq!(["upper", "trim"].map(sent), ["  HELLO", "hello"]);
    assert!(sent("greet").starts_with("hello, user "));
    assert_eq!(sent("checksum").split_whitespace().next().map(str::len), Some(64));
    // The test doesn't run in a repository.
    assert_eq!(broker.ipcctl(["send", "news"]).run().code, 1);
}

// ---- what it says

#[test]
fn with_verbose_it_logs_each_call() {
    let broker = Broker::start();
    let script = r#"[ "$(cat)" = bad ] && { echo no >&2; exit 3; }; echo done"#;
    let service = broker.ipcctl(["-v", "serve", "logged", "--", "sh", "-c", script]).start();
    broker.wait_for("logged");
    broker.ipcctl(["send", "logged.it", "good"]).prints();
    broker.ipcctl(["send", "logged", "bad"]).run().refused(1);
    eventually(SOON, "a line about each call", || service.error_so_far().matches(" ms").count() == 2);
    let said = service.error_so_far();
    let line = |start: &str| said.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("ipcctl: logged.it: a call of @").contains("a reply of 5 bytes"), "{said}");
    assert!(line("ipcctl: logged: a call of @").contains("app_error"), "{said}");
}

#[test]
fn a_healthy_service_is_silent() {
    let broker = Broker::start();
    let service = broker.serve("quiet", &["quiet", "--", "cat"]);
    broker.ipcctl(["send", "quiet", "x"]).prints();
    service.signal(Signal::SIGTERM);
    assert_eq!(service.finish().stderr, "");
}

// ---- how it ends

/// A broker, a service whose handler has begun and does not end by itself, and the handler's two processes.
fn busy_service() -> (Broker, Running, Running, Vec<u32>) {
    let broker = Broker::start();
    // It reads its request first: by then the service has noted that it runs.
    let script = "cat >/dev/null; echo $$ >>pids; sleep 952 & echo $! >>pids; touch begun; wait";
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
fn a_service_that_is_killed_ends_its_handlers() {
    let (_broker, service, _caller, handler) = busy_service();
    service.signal(Signal::SIGKILL);
    all_end(&handler);
}

#[test]
fn a_service_that_dies_of_another_signal_ends_its_handlers() {
    let (_broker, service, _caller, handler) = busy_service();
    service.signal(Signal::SIGUSR1);
    all_end(&handler);
    assert_eq!(service.finish().signal, Some(Signal::SIGUSR1 as i32));
}

#[test]
fn a_worker_does_not_outlive_a_service_that_is_killed() {
    let broker = Broker::start();
    let script = "trap '' TERM; read -r line; echo $$ >pid; while :; do sleep 0.1; done";
    let service = broker.serve("worker", &["worker", "--lines", "--", "sh", "-c", script]);
    let _caller = broker.ipcctl(["send", "worker", "line"]).start();
    let pid = eventually_some(SOON, "a worker", || {
        fs::read_to_string(broker.directory().join("pid")).ok()?.trim().parse().ok()
    });
    service.signal(Signal::SIGKILL);
    all_end(&[pid]);
}

#[test]
fn quit_lets_a_running_call_finish_like_term() {
    let broker = Broker::start();
    let script = "touch begun; while [ ! -e go ]; do sleep 0.01; done; echo done";
    let service = broker.serve("slow", &["slow", "--", "sh", "-c", script]);
    let caller = broker.ipcctl(["send", "slow"]).start();
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    service.signal(Signal::SIGQUIT);
    broker.ipcctl(["wait", "--gone", "slow"]).prints();
    broker.file("go", "");
    assert_eq!(caller.finish().stdout(), "done\n");
    assert_eq!(service.finish().code, 0);
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
