//! JSON-RPC: the sessions of docs/json-rpc.md, its clients, and both dialects with each other.

use std::{
    collections::BTreeMap,
    fs,
    net::Shutdown,
    path::{Path, PathBuf},
    time::Duration,
};

use ipc_client::{Client, Method};
use ipc_protocol::{Encoding, Message, Reply};
use ipc_tests::{
    broker::{Broker, skip},
    command::Command,
    eventually::{SOON, eventually},
    json_peer::JsonPeer,
    peer::Peer,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

// ---- the page

#[test]
fn the_sessions_of_the_page_are_what_happens() {
    let sessions = blocks("session");
    assert!(sessions.len() >= 8, "{} sessions", sessions.len());
    for (name, session) in sessions {
        replay(&name, &session);
    }
}

/// Replays a session. A dialogue takes many turns, so this one loops.
fn replay(name: &str, session: &str) {
    let broker = Broker::start();
    let mut peers: BTreeMap<char, JsonPeer> = BTreeMap::new();
    for line in session.lines() {
        let (who, message) = line.split_once(' ').expect("a peer and a message");
        let peer = peers.entry(who.chars().next().unwrap()).or_insert_with(|| JsonPeer::connect(&broker));
        if who.ends_with('>') {
            peer.say(format!("{message}\n"));
            continue;
        }
        let received = peer.line();
        assert_eq!(settled(&received), settled(message), "session {name}");
    }
}

/// A message without what differs from run to run. The order of its members is not part of it.
fn settled(message: &str) -> Value {
    fn settle(value: &mut Value) {
        match value {
            Value::Object(members) => members.iter_mut().for_each(|(name, value)| match &**name {
                "uid" | "gid" | "pid" | "timeout_ms" => *value = json!(0),
                _ => settle(value),
            }),
            Value::Array(elements) => elements.iter_mut().for_each(settle),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(message).unwrap_or_else(|error| panic!("{error} in {message:?}"));
    settle(&mut value);
    value
}

/// The blocks of the page in a language, with their names.
fn blocks(language: &str) -> Vec<(String, String)> {
    let page = fs::read_to_string(root().join("docs/json-rpc.md")).unwrap();
    let mut blocks = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (head, text) = block.split_once('\n').unwrap();
        if let Some((first, name)) = head.split_once(' ')
            && first == language
        {
            blocks.push((name.to_owned(), format!("{text}\n")));
        }
    }
    blocks
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

// ---- programs without a library

/// Clients that print the result, and end with another code than 0 if there is none.
const CLIENTS: [(&str, &str); 4] =
    [("python3", "call.py"), ("node", "call.js"), ("perl", "call.pl"), ("go run", "call.go")];

/// An example, if what runs it is there.
fn example(broker: &Broker, runner: &str, file: &str, arguments: &[&str]) -> Option<Command> {
    let (program, verb) = runner.split_once(' ').unwrap_or((runner, ""));
    if Command::new(program, ["--version"]).into_inner().output().is_err() {
        skip(&format!("{program} is not installed"));
        return None;
    }
    let file: PathBuf = root().join("examples/json-rpc").join(file);
    let verb = Some(verb).filter(|verb| !verb.is_empty());
    let arguments = verb.into_iter().chain([file.to_str().unwrap()]).chain(arguments.iter().copied());
    let command = Command::new(program, arguments).socket(broker.socket()).directory(broker.directory());
    // A compiler that has nothing in its cache takes its time on a busy machine.
    Some(command.patience(Duration::from_secs(120)))
}

#[test]
fn the_clients_of_the_page_are_short_and_those_of_the_examples() {
    for language in ["python", "js", "bash", "perl", "go"] {
        for (name, text) in blocks(language) {
            let most = if name.starts_with("service") { 20 } else { 10 };
            assert!(text.lines().count() <= most, "{name} has more than {most} lines");
            let file = fs::read_to_string(root().join("examples/json-rpc").join(&name)).unwrap();
            assert_eq!(file, text, "{name}");
        }
    }
}

/// A broker with the service `adder`, in Python.
fn adder() -> Option<(Broker, ipc_tests::command::Running)> {
    let broker = Broker::start();
    let service = example(&broker, "python3", "service.py", &[])?.start();
    broker.wait_for("adder");
    Some((broker, service))
}

#[test]
fn a_python_service_without_a_package_is_called_by_every_client_without_a_library() {
    let Some((broker, _service)) = adder() else { return };
    for (runner, file) in CLIENTS {
        let Some(client) = example(&broker, runner, file, &["adder.add", "[1,2]"]) else { continue };
        assert_eq!(client.prints_text().trim(), "3", "{file}");
        let Some(client) = example(&broker, runner, file, &["adder.sub", "[1,2]"]) else { continue };
        let finished = client.run();
        let told = finished.stdout() + &finished.stderr;
        assert!(finished.code != 0 && told.contains("only add"), "{file}: {told}");
    }
}

#[test]
fn every_client_prints_letters_beyond_ascii_as_they_are() {
    let Some((broker, _service)) = adder() else { return };
    for (runner, file) in CLIENTS {
        let Some(client) = example(&broker, runner, file, &["adder.add", r#"["ü","€"]"#]) else { continue };
        let printed = client.prints_text();
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json!("ü€"), "{file}: {printed}");
    }
}

#[test]
fn bash_with_socat_is_a_client() {
    let Some((broker, _service)) = adder() else { return };
    if Command::new("socat", ["-V"]).into_inner().output().is_err() {
        return skip("socat is not installed");
    }
    let Some(client) = example(&broker, "bash", "call.sh", &["adder.add", r#"{"a":1,"b":2}"#]) else { return };
    assert_eq!(client.prints_text(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":3}\n");
}

#[test]
fn a_tool_that_connects_to_a_socket_prints_the_names() {
    let Some((broker, _service)) = adder() else { return };
    let has = |tool: &str| Command::new(tool, ["-h"]).into_inner().output().is_ok();
    if !has("socat") && !has("nc") {
        return skip("neither socat nor nc is installed");
    }
    let script = root().join("examples/json-rpc/raw.sh");
    let names = broker.shell(&format!("sh {}", script.display())).prints_text();
    assert_eq!(names, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"names\":[\"adder\"]}}\n");
}

#[test]
fn a_python_service_without_a_package_is_called_from_the_shell() {
    let Some((broker, _service)) = adder() else { return };
    assert_eq!(broker.ipcctl(["send", "adder.add", "a:=1", "b:=2"]).prints_text().trim(), "3");
    broker.ipcctl(["send", "adder.sub", "a:=1", "b:=2"]).run().refused(67);
}

/// The sum of two numbers.
#[derive(Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Method for Add {
    const SERVICE: &'static str = "adder";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = String;
}

#[test]
fn a_rust_client_calls_a_python_service_and_encodes_again() {
    let Some((broker, _service)) = adder() else { return };
    let client = Client::connect_to(&broker.address()).unwrap();
    assert_eq!(client.call(&Add { a: 1, b: 2 }).unwrap(), 3);
}

#[test]
fn every_client_without_a_library_calls_a_typed_service_by_name_and_by_position() {
    let broker = Broker::start();
    let _service = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    for (runner, file) in CLIENTS {
        for params in [r#"{"a":20,"b":22}"#, "[20,22]"] {
            let Some(client) = example(&broker, runner, file, &["calc.add", params]) else { continue };
            assert_eq!(client.prints_text().trim(), "42", "{file}");
        }
    }
}

/// A quotient tells which of its arguments came first.
#[test]
fn positional_parameters_reach_a_typed_service_in_the_order_of_its_arguments() {
    let broker = Broker::start();
    let _service = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    let mut peer = JsonPeer::connect(&broker);
    assert_eq!(peer.ask("calc.div", &json!([42, 7])), json!(6));
    assert_eq!(peer.ask("calc.div", &json!([7, 42])), json!(0));
    assert_eq!(peer.ask("calc.div", &json!({"b": 7, "a": 42})), json!(6));
    peer.call("calc.div", &json!([42]));
    assert_eq!(peer.error(), -32602);
}

// ---- framing

#[test]
fn a_question_without_a_line_end_is_answered_and_the_connection_closed_behind_it() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    peer.say(r#"{"jsonrpc":"2.0","id":1,"method":"ipc.list"}"#);
    peer.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.line(), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"names\":[]}}\n");
    assert_eq!(peer.line(), "");
}

/// More items than are granted at first, and more bytes.
#[test]
fn a_peer_that_has_finished_sending_reads_a_long_stream_to_its_end() {
    let broker = Broker::start();
    let _service = broker.serve("lines", &["lines", "--stream", "--lines", "--", "seq", "100000", "101999"]);
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"lines","meta":{"stream":"reply"}}"#;
    let mut peer = JsonPeer::connect(&broker);
    peer.say(question);
    peer.stream().shutdown(Shutdown::Write).unwrap();
    for line in 100_000..102_000 {
        assert_eq!(peer.message()["params"], json!({"id": 1, "item": line.to_string()}));
    }
    assert_eq!(peer.message()["id"], json!(1));
    assert_eq!(peer.line(), "");
    let printed = broker.ipcctl(["rpc"]).input(question).prints_text();
    assert_eq!(printed.lines().count(), 2_001);
    if Command::new("socat", ["-V"]).into_inner().output().is_err() {
        return skip("socat is not installed");
    }
    let pipe = format!("printf %s '{question}' | socat -t5 - UNIX-CONNECT:$IPCD_SOCKET");
    assert_eq!(broker.shell(&pipe).prints_text(), printed);
}

#[test]
fn messages_may_be_cut_and_glued_anywhere() {
    let broker = Broker::start();
    let session = r#"{"jsonrpc":"2.0","id":"é\"}","method":"ipc.ping","params":{ "a":[{}] }}[
        {"jsonrpc":"2.0","id":2,"method":"ipc.ping"}]{"jsonrpc":"2.0","id":3,"method":"ipc.ping"}"#;
    let expected = [
        "{\"jsonrpc\":\"2.0\",\"id\":\"é\\\"}\",\"result\":{}}\n",
        "[{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}]\n",
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n",
    ];
    let mut peer = JsonPeer::connect(&broker);
    peer.say(session);
    assert_eq!([peer.line(), peer.line(), peer.line()], expected);
    session.as_bytes().iter().for_each(|byte| peer.say([*byte]));
    assert_eq!([peer.line(), peer.line(), peer.line()], expected);
}

#[test]
fn a_batch_of_a_hundred_calls_of_which_three_are_bad_has_a_hundred_answers() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    let call = |id: usize| match id {
        7 => json!(1),
        40 => json!({"jsonrpc": "2.0", "id": id, "method": "Bad"}),
        99 => json!({"jsonrpc": "2.0", "id": id, "method": "nothing.there"}),
        _ => json!({"jsonrpc": "2.0", "id": id, "method": "ipc.ping"}),
    };
    peer.say(json!((0..100).map(call).collect::<Vec<_>>()).to_string());
    let answers = peer.message();
    let answers = answers.as_array().unwrap();
    let codes = |id: usize| answers[id]["error"]["code"].as_i64();
    assert_eq!(answers.len(), 100);
    assert_eq!([codes(7), codes(40), codes(99)], [Some(-32600), Some(-32602), Some(-32001)]);
    assert_eq!(answers.iter().filter(|answer| answer["result"] == json!({})).count(), 97);
}

#[test]
fn a_batch_waits_for_its_slowest_call_and_nothing_else_does() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("slow", 2);
    caller.say(r#"[{"jsonrpc":"2.0","id":1,"method":"slow"},{"jsonrpc":"2.0","id":2,"method":"ipc.ping"}]"#);
    let (id, _) = service.delivered();
    caller.ask("ipc.ping", &json!({}));
    service.answer(&id, &json!("at last"));
    let answers = caller.message();
    assert_eq!((&answers[0]["result"], &answers[1]["id"]), (&json!("at last"), &json!(2)));
}

#[test]
fn what_is_garbled_is_told_and_the_next_line_is_read() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    let garbled: [&[u8]; 8] = [
        b"{\"jsonrpc\":\"2.0\",\n\"id\":1,}\n",
        b"x\n",
        b"{\"a\":\"\xff\"}\n",
        b"{\"a\":\"\\ud800\"}\n",
        b"{\"a\":\"\\udc00\"}\n",
        b"{\"a\":01}\n",
        b"[1,]\n",
        b"{\"a\":\"\x01\"}\n",
    ];
    for line in garbled {
        peer.say(line);
        let answer = peer.message();
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(-32700), &Value::Null),
            "{}",
            line.escape_ascii()
        );
    }
    peer.say(r#"{"jsonrpc":"2.0","id":1e999,"method":"ipc.ping"}"#);
    assert_eq!(peer.line(), "{\"jsonrpc\":\"2.0\",\"id\":1e999,\"result\":{}}\n");
    peer.say(r#"{"jsonrpc":"2.0","id":2,"method":"ipc.ping","meta":{"timeout_ms":1e999}}"#);
    assert_eq!(peer.error(), -32600);
    peer.ask("ipc.ping", &json!({}));
}

#[test]
fn ids_come_back_byte_for_byte() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    for id in ["0", "\"\"", "-1.50e+3", "null", r#""\u00e4\/é""#, "123456789012345678901234567890"] {
        peer.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ipc.ping"}}"#));
        assert_eq!(peer.line(), format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n"));
    }
    for id in ["{}", "[1]", "true", &format!("\"{}\"", "x".repeat(255))] {
        peer.say(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ipc.ping"}}"#));
        assert_eq!(peer.error(), -32600, "{id}");
    }
}

#[test]
fn a_notification_is_never_answered() {
    let broker = Broker::start();
    let (mut service, mut peer) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("quiet", 1);
    peer.say(r#"{"jsonrpc":"2.0","method":"quiet.note","params":[1]}{"jsonrpc":"2.0","method":"Bad"}"#);
    peer.say(r#"{"jsonrpc":"2.0","method":"nothing.there"}{"jsonrpc":"2.0","method":"$/unknown"}"#);
    let (id, call) = service.delivered();
    assert_eq!((&call["one_way"], &call["params"]), (&json!(true), &json!([1])));
    service.answer(&id, &json!(null));
    peer.ask("ipc.ping", &json!({}));
}

#[test]
fn a_request_for_a_notification_of_the_dialect_is_no_method() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    for method in ["$/unknown", "$/cancelRequest", "$/"] {
        peer.say(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"id": 1}}).to_string());
        let answer = peer.message();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32601)), "{method}");
        assert_eq!(answer["error"]["data"], json!({"name": "no_method", "retry": "safe"}));
    }
    peer.ask("ipc.ping", &json!({}));
}

#[test]
fn a_message_longer_than_may_be_is_refused_by_its_id_and_the_next_one_is_read() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    let text = "x".repeat(3 << 20);
    peer.say(format!(r#"{{"jsonrpc":"2.0","id":"long","method":"ipc.ping","params":["{text}"]}}"#));
    let answer = peer.message();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("long"), &json!(-32005)));
    peer.ask("ipc.ping", &json!({}));
}

/// An item is never left out of a stream, and its sender is told by the end of its call.
#[test]
fn an_item_longer_than_may_be_ends_its_call_on_both_sides() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.ask("ipc.register", &json!({"name": "items", "streams": true}));
    let text = "x".repeat(3 << 20);
    let call = |stream: &str| {
        json!({"jsonrpc": "2.0", "id": stream, "method": "items", "meta": {"stream": stream}}).to_string()
    };
    let item = |member: &str, id: &Value| {
        format!(r#"{{"jsonrpc":"2.0","method":"$/item","params":{{"{member}":{id},"item":"{text}"}}}}"#)
    };

    caller.say(call("reply"));
    let (id, _) = service.delivered();
    assert_eq!(service.message()["method"], "$/credit");
    service.say(item("call", &id));
    let answer = caller.message();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("reply"), &json!(-32005)));
    assert_eq!((service.message()["params"]["call"].clone(), caller.ask("ipc.ping", &json!({}))), (id, json!({})));

    caller.say(call("request"));
    caller.say(item("id", &json!("request")));
    let answer = caller.message();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("request"), &json!(-32005)));
}

#[test]
fn an_answer_longer_than_may_be_ends_its_call_and_nothing_is_kept_of_it() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("long", 1);
    caller.ask("ipc.ping", &json!({}));
    let before = broker.stat("bytes_held");
    for _ in 0..70 {
        caller.call("long", &json!("a text"));
        let (id, _) = service.delivered();
        service.say(json!({"jsonrpc": "2.0", "id": id, "result": "x".repeat(1_100_000)}).to_string());
        assert_eq!(caller.error(), -32005);
    }
    eventually(SOON, "what was held before", || broker.stat("bytes_held") <= before);
}

#[test]
fn bodies_as_long_as_may_be_pass_in_both_directions() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("big", 1);
    let text = json!(["x".repeat((1 << 20) - 4)]);
    caller.call("big", &text);
    let (id, call) = service.delivered();
    assert_eq!(call["params"], text);
    service.answer(&id, &text);
    assert_eq!(caller.message()["result"], text);
}

// ---- with the other dialect

#[test]
fn positional_parameters_reach_a_shell_service_as_an_array() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--", "cat"]);
    let mut peer = JsonPeer::connect(&broker);
    assert_eq!(peer.ask("echo", &json!([1, "b", null])), json!([1, "b", null]));
    assert_eq!(peer.ask("echo", &json!("plain text")), json!("plain text"));
    assert_eq!(peer.ask("echo", &json!({"$bytes": "AP8="})), json!({"$bytes": "AP8="}));
}

#[test]
fn bytes_from_the_shell_are_a_text_and_so_is_the_answer() {
    let broker = Broker::start();
    let mut service = JsonPeer::connect(&broker);
    service.register("upper", 1);
    let asked = broker.ipcctl(["send", "upper", "hello"]).start();
    let (id, call) = service.delivered();
    assert_eq!(call["params"], "hello");
    service.answer(&id, &json!("HELLO"));
    assert_eq!(asked.finish().stdout(), "HELLO");
}

#[test]
fn a_reply_of_many_lines_is_one_line() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), JsonPeer::connect(&broker));
    service.register("pretty", 1);
    caller.call("pretty", &json!([]));
    let call = service.delivered();
    let body = "{\n  \"a\": \"b\u{2028}c\",\r\n  \"d\": 1\n}\n".into();
    service.send(&Message::Reply(Reply { id: call.id, encoding: Encoding::JSON, body }));
    let line = caller.line();
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{  \"a\": \"b\\u2028c\",  \"d\": 1}}\n");
}

#[test]
fn an_answer_that_claims_to_be_json_does_no_harm() {
    let broker = Broker::start();
    let (mut service, mut caller) = (Peer::connect(&broker), JsonPeer::connect(&broker));
    service.register("liar", 1);
    caller.call("liar", &json!([]));
    let call = service.delivered();
    let body = "1}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"forged\"}".into();
    service.send(&Message::Reply(Reply { id: call.id, encoding: Encoding::JSON, body }));
    assert_eq!(caller.message()["result"], "1}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"forged\"}");
}

#[test]
fn a_subscriber_that_does_not_read_is_told_how_many_events_it_lost() {
    let broker = Broker::start();
    let (mut subscriber, mut publisher) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    subscriber.ask("ipc.subscribe", &json!({"pattern": "flood", "queue": 10}));
    let body = "x".repeat(10_000);
    let (mut sent, mut lost, mut read) = (1_000, 0, 0);
    for _ in 0..sent {
        publisher.ask("ipc.publish", &json!({"topic": "flood", "body": body}));
    }
    publisher.ask("ipc.publish", &json!({"topic": "flood", "body": "last"}));
    sent += 1;
    while read + lost < sent {
        let message = subscriber.message();
        match message["method"].as_str() {
            Some("$/gap") => lost += message["params"]["lost"].as_u64().unwrap(),
            _ => read += 1,
        }
    }
    assert!(lost > 100 && read > 10, "{read} read, {lost} lost");
}

// ---- its life

#[test]
fn a_peer_is_known_by_the_kernel_and_by_the_name_that_it_gives() {
    let broker = Broker::start();
    let (mut named, mut nameless) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    named.say(r#"{"jsonrpc":"2.0","id":1,"method":"ipc.ping","meta":{"agent":"my-script 1.0"}}"#);
    named.line();
    nameless.ask("ipc.ping", &json!({}));
    let peers = broker.peers();
    let agents: Vec<_> = peers.iter().take(2).map(|peer| (peer.agent.as_str(), peer.pid)).collect();
    let own = Some(std::process::id());
    assert_eq!(agents, [("my-script 1.0", own), ("json-rpc", own)]);
}

#[test]
fn the_calls_of_a_peer_that_leaves_are_cancelled() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("slow", 1);
    caller.call("slow", &json!([]));
    let (id, _) = service.delivered();
    drop(caller);
    let cancel = service.message();
    assert_eq!((&cancel["method"], &cancel["params"]["call"]), (&json!("$/cancel"), &id));
}

#[test]
fn the_callers_of_a_service_that_leaves_are_told() {
    let broker = Broker::start();
    let (mut service, mut caller) = (JsonPeer::connect(&broker), JsonPeer::connect(&broker));
    service.register("frail", 1);
    caller.call("frail", &json!([]));
    service.delivered();
    drop(service);
    let answer = caller.message();
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["retry"]), (&json!(-32002), &json!("unknown")));
}

#[test]
fn a_broker_that_stops_says_goodbye() {
    let mut broker = Broker::in_process("");
    let mut peer = JsonPeer::connect(&broker);
    peer.ask("ipc.ping", &json!({}));
    broker.daemon().unwrap().signal(Signal::SIGTERM);
    let goodbye = peer.message();
    assert_eq!((&goodbye["method"], &goodbye["params"]["name"]), (&json!("$/goodbye"), &json!("unavailable")));
    assert_eq!(peer.line(), "");
}

#[test]
fn nothing_is_kept_of_calls_that_have_ended() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    peer.ask("ipc.ping", &json!({}));
    let before = broker.stat("bytes_held");
    peer.say(
        json!((0..1_000).map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "ipc.ping"})).collect::<Vec<_>>())
            .to_string(),
    );
    assert_eq!(peer.message().as_array().map(Vec::len), Some(1_000));
    eventually(SOON, "what was held before", || broker.stat("bytes_held") == before);
}

#[test]
fn a_method_without_a_name_is_told_so_and_a_name_of_others_is_quoted_alone() {
    let broker = Broker::start();
    let mut peer = JsonPeer::connect(&broker);
    peer.say(r#"{"jsonrpc":"2.0","id":1,"method":""}"#);
    let error = serde_json::from_str::<Value>(&peer.line()).unwrap()["error"].take();
    assert_eq!((&error["code"], &error["data"]["name"]), (&json!(-32602), &json!("invalid")), "{error}");
    assert!(error["message"].as_str().is_some_and(|told| told.contains("empty")), "{error}");
    peer.say(r#"{"jsonrpc":"2.0","id":2,"method":"ipc.unregister","params":{"name":"nope"}}"#);
    let error = serde_json::from_str::<Value>(&peer.line()).unwrap()["error"].take();
    assert_eq!(error["message"], "this connection doesn't offer 'nope'");
}
