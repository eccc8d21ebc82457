//! `ipcctl serve --mcp`: a server of tools becomes a service that all share.

use std::fs;

use ipc_tests::{
    agent::Agent,
    broker::Broker,
    command::Running,
    eventually::{SOON, eventually},
    programs::Programs,
};
use serde_json::json;

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
        assert!(shown.contains("addup count die fail pid slow"), "{era}: {shown}");
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
    assert_eq!(one.tools(), ["box_addup", "box_count", "box_die", "box_fail", "box_pid", "box_slow"]);
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
fn what_is_no_server_of_tools_ends_with_a_reason() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["serve", "box", "--mcp", "--", "true"]).run();
    assert!(finished.refused(70).contains("the server exited with 0"), "{}", finished.stderr);
}
