//! `ipcctl serve --mcp`: a server of tools becomes a service that all share.

use std::fs;

use ipc_tests::{
    agent::Agent,
    broker::Broker,
    command::Running,
    eventually::{SOON, eventually},
    json_peer::JsonPeer,
    proc,
    programs::Programs,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// KiB that a wrapper may have at its peak, where a server writes 30 MB and more.
const SMALL: u64 = 28 << 10;

fn toolbox(broker: &Broker, era: &str) -> Running {
    let program = Programs::get().directory.join("toolbox");
    broker.serve("box", &["box", "--mcp", "--", program.to_str().unwrap(), era])
}

#[test]
fn tools_become_methods_in_each_era() {
    for era in ["sessions", "stateless", "leaves", "silent"] {
        let broker = Broker::start();
        let _box = toolbox(&broker, era);
        let shown = broker.ipcctl(["show", "box"]).env("XDG_CACHE_HOME", broker.directory()).prints_text();
        assert!(shown.contains("addup count die fail grow pid slow"), "{era}: {shown}");
        assert_eq!(broker.ipcctl(["send", "box.addup", "a:=1", "b:=2"]).prints_text(), "{\"sum\":3}\n", "{era}");
        let finished = broker.ipcctl(["send", "box.fail"]).run();
        assert!(finished.refused(1).contains("app_error: it went wrong"), "{era}: {}", finished.stderr);
    }
}

#[test]
fn two_agents_share_one_process() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "sessions");
    let mut one = Agent::with_session(&broker, &["box"]);
    let mut other = Agent::stateless(&broker, &["box"]);
    let tools = ["box_addup", "box_count", "box_die", "box_fail", "box_grow", "box_pid", "box_slow"];
    assert_eq!(one.tools(), tools);
    let sum = other.call("box_addup", json!({ "a": 1, "b": 2 }));
    assert_eq!(sum["structuredContent"], json!({ "sum": 3 }));
    let pids = [one.call("box_pid", json!({})), other.call("box_pid", json!({}))];
    assert_eq!(pids[0]["content"], pids[1]["content"]);
    assert!(pids[0]["content"][0]["text"].as_str().is_some_and(|pid| pid.parse::<u32>().is_ok()), "{pids:?}");
}

#[test]
fn progress_of_a_tool_reaches_the_agent() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "stateless");
    let mut agent = Agent::with_session(&broker, &["box"]);
    let call = json!({ "name": "box_count", "arguments": {}, "_meta": { "progressToken": 7 } });
    let id = agent.send("tools/call", call);
    assert_eq!(agent.answer(id)["result"]["content"][0]["text"], "counted");
    let told = agent.expect("progress", |message| message["method"] == "notifications/progress");
    assert_eq!(told["params"]["message"], "counting");
}

#[test]
fn a_cancel_and_a_deadline_reach_the_server() {
    let broker = Broker::start();
    let log = broker.directory().join("log");
    let said = |lines: &str| eventually(SOON, lines, || fs::read_to_string(&log).is_ok_and(|log| log == lines));
    let program = Programs::get().directory.join("toolbox");
    let command = broker.ipcctl(["serve", "box", "--mcp", "--", program.to_str().unwrap(), "sessions"]);
    let _box = command.env("TOOLBOX_LOG", &log).start();
    broker.wait_for("box");
    let late = broker.ipcctl(["-t", "200ms", "send", "box.slow"]).run();
    assert_eq!(late.code, 124, "{}", late.stderr);
    said("slow\ncancelled\n");
    let mut agent = Agent::with_session(&broker, &["box"]);
    let id = agent.send("tools/call", json!({ "name": "box_slow" }));
    said("slow\ncancelled\nslow\n");
    agent.cancel(id);
    said("slow\ncancelled\nslow\ncancelled\n");
}

#[test]
fn a_server_that_dies_is_an_error_and_is_started_again() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "sessions");
    let died = broker.ipcctl(["send", "box.die"]).run();
    assert!(died.refused(70).contains("the server exited with 3 before it answered"), "{}", died.stderr);
    let sum = || broker.ipcctl(["send", "box.addup", "a:=1", "b:=2"]).run().stdout();
    eventually(SOON, "it is back", || sum() == "{\"sum\":3}\n");
}

#[test]
fn the_death_of_a_server_is_told_once() {
    let broker = Broker::start();
    let program = Programs::get().directory.join("toolbox");
    let start = |option: &str| {
        let command = broker.ipcctl([option, "serve", "box", "--mcp", "--", program.to_str().unwrap(), "sessions"]);
        let server = command.start();
        broker.wait_for("box");
        broker.ipcctl(["send", "box.die"]).run();
        server
    };
    let quiet = start("-q");
    quiet.signal(Signal::SIGTERM);
    assert_eq!(quiet.finish().stderr, "");
    let verbose = start("-v");
    verbose.expect_error("ipcctl: box: the server exited with 3; it is started again\n");
    verbose.expect_error("ipcctl: box: the server is ready again");
}

#[test]
fn what_is_no_server_of_tools_ends_with_a_reason() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["serve", "box", "--mcp", "--", "true"]).run();
    assert!(finished.refused(70).contains("the server exited with 0"), "{}", finished.stderr);
}

#[test]
fn what_a_server_says_of_its_tools_reaches_agents_and_people() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "sessions");
    let mut agent = Agent::stateless(&broker, &["box.addup"]);
    let listed = agent.ask("tools/list", json!({}))["result"]["tools"][0].take();
    assert_eq!(listed["annotations"], json!({ "title": "Add up", "readOnlyHint": true, "openWorldHint": false }));
    assert_eq!(listed["outputSchema"]["properties"], json!({ "sum": { "type": "integer" } }));
    let show = |options: &[&str]| {
        let arguments = [&["show", "box.addup"], options].concat();
        broker.ipcctl(arguments).env("XDG_CACHE_HOME", broker.directory()).prints_text()
    };
    let text = show(&[]);
    assert!(text.contains("box.addup(a: i64, b: i64) -> {sum: i64}"), "{text}");
    assert!(text.contains("    Add up\n    does addUp\n    hints: read_only, not open_world\n"), "{text}");
    let json: Value = serde_json::from_str(&show(&["-o", "json"])).unwrap();
    let described = &json["described"]["addup"];
    assert_eq!(described["title"], "Add up");
    assert_eq!(described["hints"], json!({ "read_only": true, "open_world": false }));
}

/// A server whose list changes while an agent has a call under way.
fn grows(era: &str) {
    let broker = Broker::start();
    let log = broker.directory().join("log");
    let program = Programs::get().directory.join("toolbox");
    let command = broker.ipcctl(["serve", "box", "--mcp", "--", program.to_str().unwrap(), era]);
    let _box = command.env("TOOLBOX_LOG", &log).start();
    broker.wait_for("box");
    let is_change = |message: &Value| message["method"] == "notifications/tools/list_changed";
    let mut one = Agent::with_session(&broker, &["box"]);
    let mut other = Agent::stateless(&broker, &["box"]);
    assert_eq!((one.tools().len(), other.tools().len()), (7, 7));
    other.send("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }));
    let slow = one.send("tools/call", json!({ "name": "box_slow" }));
    let said = |lines: &str| eventually(SOON, lines, || fs::read_to_string(&log).is_ok_and(|log| log == lines));
    said("slow\n");

    one.call("box_grow", json!({}));

    one.expect("a change", is_change);
    other.expect("a change", is_change);
    assert!(one.tools().contains(&"box_grown".to_owned()));
    assert!(other.tools().contains(&"box_grown".to_owned()));
    one.cancel(slow);
    said("slow\ncancelled\n");
}

#[test]
fn agents_are_told_that_the_tools_of_a_server_with_sessions_have_changed() {
    grows("sessions");
}

#[test]
fn agents_are_told_that_the_tools_of_a_stateless_server_have_changed() {
    grows("stateless");
}

#[test]
fn a_server_that_has_lost_a_tool_with_its_process_is_described_anew() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "sessions");
    let shown = || broker.ipcctl(["show", "box"]).env("XDG_CACHE_HOME", broker.directory()).prints_text();
    broker.ipcctl(["send", "box.grow"]).prints_text();
    eventually(SOON, "it has grown", || shown().contains("box.grown"));
    assert_eq!(broker.ipcctl(["send", "box.die"]).run().code, 70);
    eventually(SOON, "it is small again", || !shown().contains("box.grown"));
}

#[test]
fn a_server_may_have_more_tools_than_a_registration_has_room_for() {
    let broker = Broker::start();
    let _box = toolbox(&broker, "crowded");
    let mut agent = Agent::with_session(&broker, &["box"]);
    let found = agent.call("ipc_list", json!({ "filter": "number_499" }));
    assert_eq!(found["content"][0]["text"], "box.tool_number_499: does tool number 499");
}

/// A server whose tools write without measure, and where it writes down what it did.
fn rude(broker: &Broker, options: &[&str]) -> (Running, impl Fn(&str)) {
    let log = broker.directory().join("log");
    let program = Programs::get().directory.join("toolbox");
    let arguments = [&["serve", "box", "--mcp"], options, &["--", program.to_str().unwrap(), "rude"]].concat();
    let command = broker.ipcctl(arguments);
    let wrapper = command.env("TOOLBOX_LOG", &log).start();
    broker.wait_for("box");
    (wrapper, move |lines| eventually(SOON, lines, || fs::read_to_string(&log).is_ok_and(|log| log == lines)))
}

fn add_up(broker: &Broker) -> String {
    broker.ipcctl(["send", "box.addup", "a:=1", "b:=2"]).prints_text()
}

/// A caller of a tool that tells much of its progress, of which the caller reads nothing.
fn babble(broker: &Broker) -> JsonPeer {
    let mut silent = JsonPeer::connect(broker);
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"box.babble","params":{},"meta":{"stream":"reply"}}"#;
    silent.say(format!("{question}\n"));
    silent
}

#[test]
fn progress_keeps_no_call_beyond_the_time_of_the_service() {
    let broker = Broker::start();
    let (_wrapper, said) = rude(&broker, &["--timeout", "500ms"]);
    let _silent = babble(&broker);
    said("cancelled\nbabbled\n");
}

#[test]
fn progress_for_a_caller_that_does_not_read_takes_neither_memory_nor_other_calls() {
    let broker = Broker::start();
    let (wrapper, said) = rude(&broker, &[]);
    let _silent = babble(&broker);
    assert_eq!(add_up(&broker), "{\"sum\":3}\n");
    said("babbled\n");
    let peak = proc::peak_resident_kib(wrapper.pid());
    assert!(peak < SMALL, "{peak} KiB");
    assert_eq!(add_up(&broker), "{\"sum\":3}\n");
}

#[test]
fn a_server_that_asks_without_reading_the_answers_is_ended_and_started_again() {
    let broker = Broker::start();
    let (wrapper, _) = rude(&broker, &[]);
    let finished = broker.ipcctl(["send", "box.ask"]).run();
    let text = "the server asked without reading the answers, was ended before it answered";
    assert!(finished.refused(70).contains(text), "{}", finished.stderr);
    let peak = proc::peak_resident_kib(wrapper.pid());
    assert!(peak < SMALL, "{peak} KiB");
    let sum = || broker.ipcctl(["send", "box.addup", "a:=1", "b:=2"]).run().stdout();
    eventually(SOON, "it is back", || sum() == "{\"sum\":3}\n");
}

#[test]
fn calls_and_signals_are_served_while_a_server_writes_blank_lines() {
    let broker = Broker::start();
    let (wrapper, _) = rude(&broker, &[]);
    let late = broker.ipcctl(["-t", "200ms", "send", "box.blanks"]).run();
    assert_eq!(late.code, 124, "{}", late.stderr);
    let sum = broker.ipcctl(["-t", "10s", "send", "box.addup", "a:=1", "b:=2"]).prints_text();
    assert_eq!(sum, "{\"sum\":3}\n");
    wrapper.signal(Signal::SIGTERM);
    assert_eq!(wrapper.finish().code, 0);
}

#[test]
fn a_result_that_is_too_long_fails_its_own_call_alone() {
    let broker = Broker::start();
    let (_wrapper, said) = rude(&broker, &[]);
    let mut other = Agent::with_session(&broker, &["box"]);
    let pid = other.call("box_pid", json!({}));
    let slow = other.send("tools/call", json!({ "name": "box_slow" }));
    said("slow\n");
    let finished = broker.ipcctl(["send", "box.big"]).run();
    let text = "internal: the answer is longer than a line of 1052672 bytes";
    assert!(finished.refused(70).contains(text), "{}", finished.stderr);
    assert_eq!(other.call("box_pid", json!({})), pid);
    other.cancel(slow);
    said("slow\ncancelled\n");
}

#[test]
fn a_line_that_may_have_answered_any_call_fails_all_and_keeps_the_server() {
    let broker = Broker::start();
    let _box = rude(&broker, &[]);
    let mut other = Agent::with_session(&broker, &["box"]);
    let pid = other.call("box_pid", json!({}));
    let finished = broker.ipcctl(["send", "box.large"]).run();
    let text = "the server wrote a line of more than 1052672 bytes, which may have been the answer";
    assert!(finished.refused(70).contains(text), "{}", finished.stderr);
    assert_eq!(other.call("box_pid", json!({})), pid);
}
