//! `ipcctl rpc`: standard input and output as a connection in JSON-RPC.

use ipc_tests::{
    broker::Broker,
    eventually::{SOON, eventually},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn ipcctl_connects_standard_input_and_output_to_the_broker() {
    let broker = Broker::start();
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.list"}"#;
    let answer = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"names\":[]}}\n";
    assert_eq!(broker.ipcctl(["rpc"]).input(question).prints_text(), answer);
    assert_eq!(broker.ipcctl(["rpc"]).input("").prints_text(), "");
    let mut open = broker.ipcctl(["rpc"]).interactive().start();
    open.write(question.as_bytes());
    open.expect_output(answer);
    open.write(question.as_bytes());
    open.end_input();
    assert_eq!(open.finish().stdout(), answer.repeat(2));
}

#[test]
fn ipcctl_rpc_passes_on_as_much_as_there_is() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--jobs", "4", "--", "cat"]);
    let text = "x".repeat(500_000);
    let calls: String =
        (0..20).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": text}).to_string()).collect();
    let printed = broker.ipcctl(["rpc"]).input(calls).prints_text();
    assert_eq!(printed.lines().filter(|line| line.contains(&text)).count(), 20);
}

#[test]
fn ipcctl_rpc_answers_what_the_broker_would_not_take_for_json_rpc() {
    let broker = Broker::start();
    let printed = |input: &str| broker.ipcctl(["rpc"]).input(input).prints_text();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.ping"}"#;
    let pong = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";
    let refused = printed(&format!("{ping} garbage\n")).replace(pong, "");
    assert!(refused.contains("-32700"), "{refused}");
    assert_eq!(printed("garbage\n"), refused);
    assert_eq!(printed(&format!("garbage\n{ping}")), format!("{refused}{pong}"));
    assert_eq!(printed(&format!("\u{feff}\n{ping}")), pong);
}

#[test]
fn ipcctl_rpc_answers_a_request_without_an_end() {
    let broker = Broker::start();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.ping"}"#;
    let printed = broker.ipcctl(["rpc"]).input(format!("{ping}{{\"jsonrpc\":")).prints_text();
    let codes = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["error"]["code"].clone());
    assert_eq!(codes.collect::<Vec<_>>(), [Value::Null, json!(-32700)]);
}

#[test]
fn ipcctl_rpc_keeps_its_deadline_and_tells_errors() {
    let mut broker = Broker::in_process("");
    let wait = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.wait","params":{"name":"never"}}"#;
    broker.ipcctl(["rpc", "-t", "100ms"]).input(wait).run().refused(124);
    broker.ipcctl(["-s", "/nowhere/ipcd.sock", "rpc"]).input("").run().refused(69);
    let mut open = broker.ipcctl(["rpc"]).interactive().start();
    open.write(wait.as_bytes());
    let is_there = || broker.peers().iter().any(|peer| peer.agent == "json-rpc");
    eventually(SOON, "a connection", is_there);
    broker.daemon().unwrap().kill();
    assert!(open.finish().refused(74).contains("the broker has closed the connection"));
}

#[test]
fn ipcctl_rpc_goes_on_with_a_subscription_for_as_long_as_it_may() {
    let broker = Broker::start();
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.subscribe","params":{"pattern":"n."}}"#;
    let over = broker.ipcctl(["rpc", "-t", "100ms"]).input(subscribe).run();
    assert_eq!((over.code, over.stderr.as_str()), (0, ""));
    assert_eq!(over.stdout().lines().count(), 1, "{}", over.stdout());

    let mut open = broker.ipcctl(["rpc"]).interactive().start();
    open.write(subscribe.as_bytes());
    open.expect_output("\"result\"");
    open.end_input();
    broker.ipcctl(["publish", "n.a", "hello"]).prints();
    open.expect_output("hello");
    assert!(open.is_running());
    open.signal(Signal::SIGTERM);
    open.finish();
}

#[test]
fn ipcctl_rpc_says_how_many_answers_are_due() {
    let broker = Broker::start();
    let wait = |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ipc.wait","params":{{"name":"never"}}}}"#);
    let batch = format!("[{},{}]", wait(1), wait(2));
    let late = broker.ipcctl(["rpc", "-t", "100ms"]).input(format!("{batch}{}", wait(3))).run();
    assert!(late.refused(124).contains("3 answers are still due"), "{}", late.stderr);
}
