//! `ipcctl mcp`: agents of both eras call services as tools.

use std::{fs, time::Duration};

use ipc_tests::{
    agent::Agent,
    broker::{Broker, STRANGER, is_root},
    command::{Command, Running},
    eventually::eventually,
    proc,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A shell service without a description, and a Rust service that has one.
fn services(broker: &Broker) -> [Running; 2] {
    let upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let calc = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    [upper, calc]
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn an_agent_with_a_session_lists_and_calls() {
    let broker = Broker::start();
    let _services = services(&broker);
    let mut agent = Agent::with_session(&broker, &["upper", "calc"]);
    assert_eq!(agent.ask("ping", json!({}))["result"], json!({}));
    assert_eq!(agent.tools(), ["calc_add", "calc_div", "calc_factorial", "upper"]);
    assert_eq!(text(&agent.call("upper", json!({ "input": "hello" }))), "HELLO");
    let sum = agent.call("calc_add", json!({ "a": 1, "b": 2 }));
    let expected = json!({
        "content": [{ "type": "text", "text": "{\"result\":3}" }], "structuredContent": { "result": 3 }, "isError": false,
    });
    assert_eq!(sum, expected);
    assert_eq!(agent.call("calc.add", json!({ "a": 1, "b": 2 })), expected, "a dotted name is taken, too");
}

#[test]
fn a_stateless_agent_discovers_lists_and_calls() {
    let broker = Broker::start();
    let _services = services(&broker);
    let mut agent = Agent::stateless(&broker, &["upper", "calc.add"]);
    let discovered = agent.ask("server/discover", json!({}))["result"].take();
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "ipcctl");
    let listed = agent.ask("tools/list", json!({}))["result"].take();
    let kept = [&listed["resultType"], &listed["ttlMs"], &listed["cacheScope"]];
    assert_eq!(kept, [&json!("complete"), &json!(0), &json!("private")]);
    assert_eq!(agent.tools(), ["calc_add", "upper"]);
    let sum = agent.call("calc_add", json!({ "a": 1, "b": 2 }));
    assert_eq!((&sum["structuredContent"], &sum["resultType"]), (&json!({ "result": 3 }), &json!("complete")));
    let gone = agent.ask("ping", json!({}));
    assert_eq!(gone["error"]["code"], -32601);
}

#[test]
fn a_version_that_is_not_spoken_is_told_which_is() {
    let broker = Broker::start();
    let mut agent = Agent::with_session(&broker, &["upper"]);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2031-01-01" });
    let error = agent.ask("tools/list", json!({ "_meta": meta }))["error"].take();
    assert_eq!((&error["code"], &error["data"]["supported"]), (&json!(-32022), &json!(["2026-07-28"])));
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    assert_eq!(agent.ask("tools/list", json!({ "_meta": meta }))["error"]["code"], -32602);
}

#[test]
fn errors_are_results_that_say_whether_to_try_again() {
    let broker = Broker::start();
    let [_upper, calc] = services(&broker);
    let mut agent = Agent::with_session(&broker, &["upper", "calc"]);
    agent.tools();
    let divided = agent.call("calc_div", json!({ "a": 1, "b": 0 }));
    assert_eq!((text(&divided), &divided["isError"]), ("app_error: division by zero (retry: unknown)", &json!(true)));
    assert!(divided.get("structuredContent").is_none());
    let wrong = agent.call("calc_add", json!({ "a": 1 }));
    assert!(text(&wrong).starts_with("invalid: ") && text(&wrong).ends_with("(retry: safe)"), "{wrong}");
    let unknown = agent.ask("tools/call", json!({ "name": "nope" }));
    assert_eq!(unknown["error"]["code"], -32602);
    calc.signal(Signal::SIGKILL);
    broker.ipcctl(["wait", "--gone", "calc"]).prints();
    let gone = agent.ask("tools/call", json!({ "name": "calc_add", "arguments": { "a": 1, "b": 2 } }));
    let is_told = gone["error"]["code"] == -32602 || text(&gone["result"]).starts_with("no_service: ");
    assert!(is_told, "{gone}");
}

#[test]
fn items_of_a_stream_are_progress_and_the_last_one_is_the_result() {
    let broker = Broker::start();
    let script = "echo one; until [ -e go ]; do sleep 0.01; done; echo two";
    let _tick = broker.serve("tick", &["tick", "--stream", "--lines", "--", "sh", "-c", script]);
    for mut agent in [Agent::with_session(&broker, &["tick"]), Agent::stateless(&broker, &["tick"])] {
        let _ = fs::remove_file(broker.directory().join("go"));
        let call = json!({ "name": "tick", "arguments": { "input": "" }, "_meta": { "progressToken": "t" } });
        let id = agent.send("tools/call", call);
        let first = agent.expect("progress", |message| message["method"] == "notifications/progress");
        assert_eq!((&first["params"]["progressToken"], &first["params"]["message"]), (&json!("t"), &json!("one")));
        broker.file("go", "");
        assert_eq!(text(&agent.answer(id)["result"]), "two");
        let told: Vec<f64> =
            agent.messages().iter().filter_map(|message| message["params"]["progress"].as_f64()).collect();
        assert!(told.is_sorted_by(|one, other| one < other), "{told:?}");
    }
}

#[test]
fn a_cancelled_tool_is_gone_with_its_group_and_is_not_answered() {
    let broker = Broker::start();
    let script = "sleep 1000 & echo $$ $! > pids.new; mv pids.new pids; wait";
    let _slow = broker.serve("slow", &["slow", "--", "sh", "-c", script]);
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let mut agent = Agent::with_session(&broker, &["slow", "upper"]);
    let id = agent.send("tools/call", json!({ "name": "slow", "arguments": { "input": "" } }));
    let file = broker.directory().join("pids");
    eventually(Duration::from_secs(20), "the tool runs", || file.exists());
    let pids: Vec<u32> = fs::read_to_string(file).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    agent.cancel(id);
    // TERM is followed by KILL half a second later; the rest is for a busy machine.
    eventually(Duration::from_secs(5), "the end of its group", || !pids.iter().any(|pid| proc::is_running(*pid)));
    assert_eq!(text(&agent.call("upper", json!({ "input": "x" }))), "X");
    assert!(!agent.messages().iter().any(|message| message["id"] == id), "{:?}", agent.messages());
}

#[test]
fn calls_under_way_are_answered_after_the_end_of_the_input() {
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"upper","arguments":{"input":"hi"}}}"#;
    for input in [format!("{call}\n"), call.to_owned()] {
        let printed = broker.ipcctl(["mcp", "upper"]).input(input).prints_text();
        let answer: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!((&answer["id"], text(&answer["result"])), (&json!(1), "HI"));
    }
}

/// A server with a call under way that takes long, the end of its input, and the process of its tool.
fn left_alone(broker: &Broker, arguments: &[&str]) -> (Running, u32) {
    let script = [&["mcp"], arguments, &["slow"]].concat();
    let mut server = broker.ipcctl(script).interactive().start();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "slow", "arguments": { "input": "" } } });
    server.write(format!("{call}\n").as_bytes());
    let file = broker.directory().join("pid");
    let pid = || fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    eventually(Duration::from_secs(20), "the tool runs", || pid().is_some());
    server.end_input();
    (server, pid().unwrap())
}

#[test]
fn after_the_end_of_the_input_a_signal_cancels_what_runs() {
    let broker = Broker::start();
    let _slow = broker.serve("slow", &["slow", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"]);
    let (mut server, tool) = left_alone(&broker, &[]);
    assert!(server.is_running());
    server.signal(Signal::SIGTERM);
    server.finish();
    eventually(Duration::from_secs(20), "the end of the tool", || !proc::is_running(tool));
}

#[test]
fn after_the_end_of_the_input_a_call_has_its_deadline_and_no_more() {
    let broker = Broker::start();
    let _slow = broker.serve("slow", &["slow", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"]);
    let (server, tool) = left_alone(&broker, &["--deadline", "1s"]);
    let finished = server.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    assert!(finished.stdout().contains("deadline: "), "{}", finished.stdout());
    eventually(Duration::from_secs(20), "the end of the tool", || !proc::is_running(tool));
}

#[test]
fn a_closed_output_ends_what_waits_for_answers() {
    let broker = Broker::start();
    let _slow = broker.serve("slow", &["slow", "--", "sh", "-c", "echo $$ > pid; exec sleep 1000"]);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{"input":""}}}"#;
    broker.file("call", call);
    // The reader leaves once the tool runs, and the shell waits for the server.
    let script = "ipcctl mcp slow < call | until [ -s pid ]; do sleep 0.01; done; cat pid";
    let pid: u32 = broker.shell(script).prints_text().trim().parse().unwrap();
    eventually(Duration::from_secs(20), "the end of the tool", || !proc::is_running(pid));
}

#[test]
fn a_broker_that_does_not_answer_is_an_error_and_holds_up_no_ping() {
    let mut broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    broker.daemon().unwrap().pause();
    let mut agent = Agent::with_session(&broker, &["upper"]);
    let list = agent.send("tools/list", json!({}));
    let call = agent.send("tools/call", json!({ "name": "upper", "arguments": { "input": "x" } }));
    let ping = agent.send("ping", json!({}));
    for unanswered in [list, call] {
        let error = agent.answer(unanswered)["error"].take();
        assert_eq!(error["code"], -32603, "{error}");
        let told = error["message"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains("is it stopped, or overloaded?"), "{told}");
    }
    agent.answer(ping);
    let order: Vec<Value> = agent.messages().iter().map(|message| message["id"].clone()).collect();
    let place = |id: u64| order.iter().position(|known| *known == id);
    assert!(place(ping) < place(list) && place(ping) < place(call), "{order:?}");
    broker.daemon().unwrap().signal(Signal::SIGCONT);
    assert_eq!(agent.tools(), ["upper"]);
}

#[test]
fn arguments_that_do_not_fit_and_names_that_are_near_are_told() {
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let mut agent = Agent::with_session(&broker, &["upper"]);
    let told = |agent: &mut Agent, arguments: Value| text(&agent.call("upper", arguments)).to_owned();
    assert_eq!(told(&mut agent, json!({})), "invalid: the argument 'input', a text, is missing (retry: safe)");
    assert_eq!(told(&mut agent, json!({ "input": 7 })), "invalid: the argument 'input' is a text (retry: safe)");
    let more = told(&mut agent, json!({ "input": "a", "b": 3 }));
    assert_eq!(more, "invalid: there is no argument 'b'; the tool takes 'input' alone (retry: safe)");
    let near = agent.ask("tools/call", json!({ "name": "uper" }))["error"]["message"].take();
    assert_eq!(near, "there is no tool 'uper'; did you mean 'upper'?");
}

#[test]
fn a_server_whose_agent_was_killed_ends_although_its_pipes_are_open() {
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    // The sleeper holds the writing end of the pipe, as another child of an agent would.
    let script = "mkfifo in; sleep 1000 > in & echo $! > sleeper; ipcctl mcp upper < in > out & echo $! > server; wait";
    let agent = broker.shell(script).own_group().start();
    let pid = |name: &str| fs::read_to_string(broker.directory().join(name)).ok()?.trim().parse::<u32>().ok();
    eventually(Duration::from_secs(20), "its server runs", || pid("server").is_some() && broker.peers().len() > 2);
    agent.signal(Signal::SIGKILL);
    eventually(Duration::from_secs(20), "its end", || !pid("server").is_some_and(proc::is_running));
    Command::shell(&format!("kill {}", pid("sleeper").unwrap())).prints();
}

#[test]
fn agents_are_told_when_services_come_and_go() {
    let broker = Broker::start();
    let is_change = |message: &Value| message["method"] == "notifications/tools/list_changed";
    let mut session = Agent::with_session(&broker, &["late.", "named"]);
    assert!(session.tools().is_empty());
    let mut stateless = Agent::stateless(&broker, &["late."]);
    assert!(stateless.tools().is_empty());
    let id = stateless.send("subscriptions/listen", json!({ "notifications": { "toolsListChanged": true } }));
    let subscription = |message: &Value| message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone();
    let agreed = stateless.expect("the first of the subscription", |message| subscription(message) == id);
    assert_eq!(agreed["method"], "notifications/subscriptions/acknowledged");
    let _late = broker.serve("late.one", &["late.one", "--", "cat"]);
    session.expect("a change", is_change);
    let change = stateless.expect("a change", is_change);
    assert_eq!(subscription(&change), json!(id));
    assert_eq!((session.tools(), stateless.tools()), (vec!["late_one".to_owned()], vec!["late_one".to_owned()]));
}

#[test]
fn a_service_that_starts_together_with_the_agent_is_in_the_first_list() {
    let broker = Broker::start();
    let mut agent = Agent::stateless(&broker, &["upper"]);
    let id = agent.send("tools/list", json!({}));
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    // The list waits for a second; on a machine that takes longer to start a service, a change follows.
    let listed = agent.answer(id)["result"]["tools"].as_array().map(Vec::len);
    assert!(listed == Some(1) || agent.tools() == ["upper"], "{listed:?}");
}

#[test]
fn beyond_forty_tools_three_find_and_call_them() {
    let broker = Broker::start();
    let methods: String = (0..41).map(|at| format!("[methods.m{at}]\nabout = 'number {at}'\n")).collect();
    let description = broker.file("many.toml", methods);
    let describe = description.to_str().unwrap();
    let _many = broker.serve("many", &["many", "--describe", describe, "--", "sh", "-c", "echo $IPC_METHOD; cat"]);
    let mut agent = Agent::with_session(&broker, &["many"]);
    assert_eq!(agent.tools(), ["ipc_call", "ipc_describe", "ipc_list"]);
    assert_eq!(text(&agent.call("ipc_list", json!({ "filter": "number 40" }))), "many.m40: number 40");
    let described = agent.call("ipc_describe", json!({ "name": "many.m7" }));
    assert!(text(&described).contains("\"required\":[\"input\"]"), "{described}");
    let called = agent.call("ipc_call", json!({ "name": "many.m7", "arguments": { "input": "x" } }));
    assert_eq!(text(&called), "m7\nx");
    let unknown = agent.call("ipc_call", json!({ "name": "many.m99" }));
    assert_eq!(unknown["isError"], json!(true));
}

#[test]
fn hostile_lines_are_refused_and_the_next_one_is_served() {
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let mut agent = Agent::with_session(&broker, &["upper"]);
    let long = "x".repeat(5 << 20);
    let deep = "[".repeat(1 << 20);
    for line in
        [long.as_bytes(), deep.as_bytes(), b"{\"jsonrpc\":\"2.0\"", b"\xff\xfe", b"null", b"\"\\ud800\"", b"", b"[]"]
    {
        agent.write(&[line, b"\n"].concat());
    }
    for params in [json!({ "name": 7 }), json!({ "name": "upper", "arguments": [] }), json!({})] {
        assert_eq!(agent.ask("tools/call", params)["error"]["code"], -32602);
    }
    assert_eq!(text(&agent.call("upper", json!({ "input": "still here" }))), "STILL HERE");
    assert!(text(&agent.call("upper", json!({}))).starts_with("invalid: "));
    let refused =
        agent.messages().iter().filter(|message| message["id"].is_null() && message["error"].is_object()).count();
    assert_eq!(refused, 7);
    assert!(proc::peak_resident_kib(agent.server()) < 64 << 10, "a long line is not kept");
}

#[test]
fn a_hundred_calls_run_at_once() {
    let broker = Broker::start();
    let script = "until [ -e go ]; do sleep 0.05; done; cat";
    let _gate = broker.serve("gate", &["gate", "--jobs", "100", "--", "sh", "-c", script]);
    let mut agent = Agent::with_session(&broker, &["gate"]);
    let call = |at: u32| json!({ "name": "gate", "arguments": { "input": at.to_string() } });
    let ids: Vec<(u32, u64)> = (0..100).map(|at| (at, agent.send("tools/call", call(at)))).collect();
    broker.file("go", "");
    for (at, id) in ids {
        assert_eq!(text(&agent.answer(id)["result"]), at.to_string());
    }
}

#[test]
fn a_long_text_is_cut_and_a_deadline_is_kept() {
    let broker = Broker::start();
    let _long = broker.serve("long", &["long", "--", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"]);
    let _slow = broker.serve("slow", &["slow", "--", "sleep", "1000"]);
    let mut agent = Agent::with_session(&broker, &["long", "slow", "--deadline", "200ms"]);
    let late = agent.call("slow", json!({ "input": "" }));
    assert!(text(&late).starts_with("deadline: "), "{late}");
    let mut patient = Agent::with_session(&broker, &["long"]);
    let long = patient.call("long", json!({ "input": "" }));
    assert!(text(&long).ends_with("x\n[cut: 34464 more bytes]"), "{}", text(&long).len());
}

#[test]
fn a_user_who_may_call_nothing_is_offered_nothing() {
    if !is_root() {
        return;
    }
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let mut server = broker.ipcctl(["mcp", "upper"]).user(STRANGER).interactive().start();
    server.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n");
    server.expect_output("\"tools\":[]");
}

#[test]
fn without_a_pattern_nothing_is_offered() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["mcp"]).run();
    assert!(finished.refused(2).contains("PATTERN"), "{}", finished.stderr);
}
