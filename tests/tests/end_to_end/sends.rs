//! `ipcctl send`: what it sends, what it prints, and how it reports failures.

use std::time::Duration;

use ipc_tests::{
    broker::Broker,
    command::{Command, Finished, Running},
    peer::Peer,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A service that answers after a while, so that callers have to wait.
fn slow(broker: &Broker) -> Running {
    broker.serve("slow", &["slow", "--", "sh", "-c", "sleep 0.3; echo done"])
}

fn echo(broker: &Broker) -> Running {
    broker.serve("echo", &["echo", "--", "cat"])
}

fn printed_json(command: Command) -> Value {
    serde_json::from_slice(&command.prints()).expect("it prints one JSON document")
}

fn error_line(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stderr).unwrap_or_else(|error| panic!("{error}: {}", finished.stderr))
}

// ---- what an error says about the call

#[test]
fn a_time_that_stands_apart_from_its_option_is_told_how_it_is_written() {
    let broker = Broker::start();
    let refused = broker.ipcctl(["send", "upper", "hello", "--wait", "5s"]).run();
    assert!(refused.refused(2).contains("--wait=5s"), "{}", refused.stderr);
}

#[test]
fn a_time_in_place_of_the_body_is_told_how_it_is_written() {
    let broker = Broker::start();
    let _service = echo(&broker);
    let refused = broker.ipcctl(["send", "echo", "--wait", "5s"]).run();
    assert!(refused.refused(2).contains("--wait=5s"), "{}", refused.stderr);
    assert_eq!(broker.ipcctl(["send", "echo", "5s", "--wait"]).prints_text(), "5s");
    assert_eq!(broker.ipcctl(["send", "echo", "--wait", "--", "5s"]).prints_text(), "5s");
}

#[test]
fn a_long_argument_that_is_wrong_is_cut_in_the_error_line() {
    let finished = Command::ipcctl(["send", &"X".repeat(100_000)]).run();
    let line = finished.refused(2);
    assert!(line.len() < 400 && line.contains("XXX…' isn't a valid value"), "{line}");
}

#[test]
fn bincode_without_types_says_so_whatever_the_body_is() {
    let broker = Broker::start();
    let _service = broker.serve("plain", &["plain", "--", "cat"]);
    let refused = broker.ipcctl(["send", "plain", "--encoding", "bincode", "x"]).run();
    assert!(refused.refused(67).contains("doesn't say what its types are"), "{}", refused.stderr);
}

#[test]
fn a_chat_under_the_name_of_a_service_says_so() {
    let broker = Broker::start();
    let _service = broker.serve("plain", &["plain", "--", "cat"]);
    let refused = broker.ipcctl(["chat", "plain"]).input("hi\n").run();
    assert!(refused.refused(65).contains("(choose another name)"), "{}", refused.stderr);
}

#[test]
fn a_call_is_waited_for_even_without_a_descriptor_for_signals() {
    let broker = Broker::start();
    let _service = slow(&broker);
    let finished = broker.shell("ulimit -n 4; exec ipcctl -o json send slow x").run();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{}", finished.stdout());
}

#[test]
fn the_hint_says_once_whether_the_call_may_have_run() {
    let broker = Broker::start();
    let _service = slow(&broker);
    let finished = broker.ipcctl(["-t", "100ms", "send", "slow"]).run();
    let line = finished.refused(124);
    assert_eq!(line.matches("may have run").count(), 1, "{line}");
}

#[test]
fn the_text_of_a_service_does_not_suppress_the_hint() {
    let broker = Broker::start();
    let script = "echo 'a backup may have run' >&2; exit 75";
    let _service = broker.serve("full", &["full", "--", "sh", "-c", script]);
    let finished = broker.ipcctl(["send", "full"]).run();
    let line = finished.refused(75);
    assert!(line.contains("a backup may have run") && line.contains("(it has not run; "), "{line}");
}

#[test]
fn a_string_instead_of_a_number_hints_how_to_write_one() {
    let broker = Broker::start();
    let script = r#"grep -q '"a":[0-9]' || { echo 'a is no number' >&2; exit 65; }"#;
    let _service = broker.serve("sum", &["sum", "--", "sh", "-c", script]);
    let finished = broker.ipcctl(["send", "sum", "a=1"]).run();
    let line = finished.refused(65);
    assert!(line.contains("a:=1"), "{line}");
    broker.ipcctl(["send", "sum", "a:=1"]).prints();
}

#[test]
fn a_datagram_without_an_answer_names_possible_reasons() {
    let broker = Broker::start();
    let _service = slow(&broker);
    let finished = broker.ipcctl(["-t", "50ms", "send", "--datagram", "slow"]).run();
    let line = finished.refused(124);
    assert!(line.contains("another network namespace"), "{line}");
}

#[test]
fn a_missing_broker_is_one_sentence_and_one_hint() {
    let finished = Command::ipcctl(["send", "upper", "x"]).socket("/nowhere/ipcd.sock").run();
    let line = finished.refused(69);
    assert!(line.contains("/nowhere/ipcd.sock") && line.contains("ipcctl run"), "{line}");
    assert!(!line.contains("os error") && line.matches('(').count() == 1, "{line}");
}

// ---- what is printed

#[test]
fn a_line_break_is_added_on_request() {
    let broker = Broker::start();
    let _service = echo(&broker);
    assert_eq!(broker.ipcctl(["send", "-n", "echo", "hi"]).prints_text(), "hi\n");
    assert_eq!(broker.ipcctl(["send", "echo", "hi\n", "--newline"]).prints_text(), "hi\n");
    assert_eq!(broker.ipcctl(["send", "echo", "hi"]).prints_text(), "hi");
}

#[test]
fn with_json_output_text_is_text_and_json_is_json() {
    let broker = Broker::start();
    let _service = echo(&broker);
    let sent = |args: &[&str]| printed_json(broker.ipcctl([&["-o", "json", "send", "echo"], args].concat()));
    assert_eq!(sent(&["naïve\n"]), json!({ "encoding": "bytes", "text": "naïve\n" }));
    assert_eq!(sent(&["a:=[1, 2]"]), json!({ "a": [1, 2] }));
    let binary = broker.shell(r"printf '\377\376' | ipcctl -o json send echo -");
    assert_eq!(printed_json(binary), json!({ "encoding": "bytes", "base64": "//4=" }));
}

#[test]
fn a_reply_of_two_lines_ends_lines_instead_of_answering_the_next_call() {
    let broker = Broker::start();
    let _service = broker.serve("twice", &["twice", "--", "sh", "-c", "read -r a; echo \"$a\"; [ $a != b ] || echo 2"]);
    let finished = broker.ipcctl(["send", "twice", "--lines", "-"]).input("a\nb\nc\n").run();
    assert_eq!((finished.code, finished.stdout().as_str()), (74, "a\n"), "{}", finished.stderr);
    assert!(finished.stderr.contains("more than one line"), "{}", finished.stderr);
    let paired = broker.ipcctl(["-o", "json", "send", "twice", "--lines", "-"]).input("a\nb\nc\n").prints_text();
    assert_eq!(paired.lines().count(), 3, "{paired}");
}

#[test]
fn verbose_reports_call_and_answer() {
    let broker = Broker::start();
    let _service = echo(&broker);
    let finished = broker.ipcctl(["-v", "send", "echo", "hi"]).run();
    assert_eq!(finished.stdout(), "hi");
    assert!(finished.stderr.contains("calling echo with 2 bytes"), "{}", finished.stderr);
    assert!(finished.stderr.contains("echo answered in"), "{}", finished.stderr);
}

// ---- how long it takes

#[test]
fn a_handlers_own_calls_inherit_its_deadline() {
    let broker = Broker::start();
    let _never = broker.serve("never", &["never", "--", "sleep", "971"]);
    let called = broker.ipcctl(["send", "never"]).env("IPC_DEADLINE_MS", "300").run();
    assert!(called.refused(124).contains("never: deadline: "), "{}", called.stderr);
    assert!(called.took < Duration::from_secs(10), "{:?}", called.took);
}

#[test]
fn the_timeout_holds_for_every_verb_at_a_stopped_broker() {
    let mut broker = Broker::in_process("");
    broker.daemon().expect("it is a process").signal(Signal::SIGSTOP);
    for verb in [&["ping"][..], &["bench"], &["list"], &["peers"], &["stats"], &["show", "x"], &["send", "x"]] {
        let finished = broker.ipcctl([&["-t", "300ms"], verb].concat()).run();
        finished.refused(124);
        assert!(finished.took < Duration::from_secs(5), "{verb:?}: {:?}", finished.took);
    }
    broker.daemon().expect("it is a process").signal(Signal::SIGCONT);
}

#[test]
fn the_timeout_holds_for_verbs_that_wait_at_a_stopped_broker() {
    let mut broker = Broker::in_process("");
    broker.daemon().expect("it is a process").signal(Signal::SIGSTOP);
    let verbs = [
        (&["publish", "a.b", "-t", "300ms"][..], 124),
        (&["publish", "a.b", "--retain", "x", "-t", "300ms"], 124),
        (&["lock", "x", "--try", "-t", "300ms", "--", "true"], 124),
        (&["subscribe", "a.b", "-t", "300ms"], 124),
        (&["subscribe", "a.b", "-n", "1", "-t", "300ms"], 124),
        (&["chat", "x", "-t", "300ms"], 69),
        (&["serve", "x", "--wait=300ms", "--", "cat"], 124),
        (&["send", "x", "--stream", "-t", "300ms"], 124),
    ];
    for (verb, code) in verbs {
        let finished = broker.ipcctl(verb).run();
        finished.refused(code);
        assert!(finished.took < Duration::from_secs(7), "{verb:?}: {:?}", finished.took);
    }
    broker.daemon().expect("it is a process").signal(Signal::SIGCONT);
}

#[test]
fn a_stopped_broker_is_not_reported_as_a_missing_service() {
    let mut broker = Broker::in_process("");
    broker.daemon().expect("it is a process").signal(Signal::SIGSTOP);
    let finished = broker.ipcctl(["send", "--wait=300ms", "x"]).run();
    assert!(finished.refused(69).contains("has not answered"), "{}", finished.stderr);
    broker.daemon().expect("it is a process").signal(Signal::SIGCONT);
}

#[test]
fn a_very_long_timeout_is_accepted() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    peer.register("here", 1);
    for time in ["1000y", "580000000000y", "18446744073709551615s"] {
        broker.ipcctl(["-t", time, "list"]).prints();
        broker.ipcctl(["-t", time, "wait", "here"]).prints();
        broker.ipcctl(["send", &format!("--wait={time}"), "--oneway", "here"]).prints();
    }
}

// ---- what is refused

#[test]
fn a_time_separate_from_wait_is_refused_with_the_right_form() {
    let finished = Command::ipcctl(["send", "--wait", "5s", "upper", "hello"]).socket("/nowhere").run();
    assert!(finished.refused(2).contains("--wait=5s"), "{}", finished.stderr);
}

#[test]
fn quiet_also_holds_for_usage_errors() {
    for arguments in [&["-q", "sned"][..], &["list", "--nope", "-q"], &["-q", "send", "NAME"], &["--quiet"]] {
        let finished = Command::ipcctl(arguments).run();
        assert_eq!((finished.code, finished.stderr.as_str()), (2, ""), "{arguments:?}");
    }
}

#[test]
fn usage_errors_are_json_on_request() {
    let finished = Command::ipcctl(["sned", "-o", "json"]).run();
    assert_eq!(error_line(&finished)["error"], "usage", "{}", finished.stderr);
}
