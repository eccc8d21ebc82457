//! What services say of themselves, as the shell reads it.

use std::{fs, os::unix::fs::symlink};

use bytes::Bytes;
use ipc_client::{Context, Failed, Items, Method, Service, Serving, Sink, StreamMethod};
use ipc_protocol::{Encoding, Message, Reply};
use ipc_tests::{
    broker::Broker,
    command::{Command, Running},
    json_peer::JsonPeer,
    peer::Peer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    article: String,
    count: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    number: u64,
    lines: Vec<(String, u32)>,
}

impl Method for Order {
    const SERVICE: &'static str = "shop";
    const METHOD: &'static str = "order";
    type Reply = Receipt;
    type Error = String;
}

fn shop(broker: &Broker) -> Serving {
    let service = Service::new("shop").address(&broker.address()).about("sells what there is");
    let order = |order: Order, _: &ipc_client::Context| {
        Ok(Receipt { number: 7, lines: vec![(order.article, order.count.unwrap_or(1))] })
    };
    service.quick(order).stream(split).start().expect("the name is free")
}

/// Sends the lines of a text.
#[derive(Serialize, Deserialize)]
struct Split {
    text: String,
}

impl StreamMethod for Split {
    const SERVICE: &'static str = "shop";
    const METHOD: &'static str = "split";
    const UPLOAD: bool = false;
    type In = ();
    type Out = String;
    type Reply = ();
    type Error = String;
}

fn split(request: Split, _: Items<()>, mut lines: Sink<String>, _: &Context) -> Result<(), Failed<String>> {
    let sent = request.text.lines().try_for_each(|line| lines.send(&line.to_owned()));
    sent.map_err(|error| Failed::busy(error.to_string()))
}

/// A command that writes what it is asked into the file `calls`, and says so of itself.
fn log(broker: &Broker) -> Running {
    let said = "[methods.note]\nrequest = { line = 'string', mark = 'integer?' }\n\
                [events.\"log.noted\"]\nabout = 'a line was noted'\nevent = { line = 'string' }\n";
    let description = broker.file("log.toml", said);
    let describe = description.to_str().unwrap();
    broker.serve("log", &["log", "--describe", describe, "--", "sh", "-c", "cat >> calls"])
}

/// A call of ipcctl by a user whose home is the broker's directory.
fn ipcctl<const N: usize>(broker: &Broker, args: [&str; N]) -> Command {
    broker.ipcctl(args).env("XDG_CACHE_HOME", broker.directory())
}

#[test]
fn show_prints_methods_with_their_fields_and_types() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let shown = ipcctl(&broker, ["show", "shop"]).prints_text();
    assert!(shown.contains("\n    sells what there is\n"), "{shown}");
    assert!(shown.contains("\nshop.order(article: string, count: u32?) -> Receipt, or string\n"), "{shown}");
    assert!(shown.contains("\n    Receipt = number: u64, lines: [(string, u32)]\n"), "{shown}");
}

#[test]
fn show_of_a_method_in_json_has_the_schemas() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let shown: Value =
        serde_json::from_str(&ipcctl(&broker, ["-o", "json", "show", "shop.order"]).prints_text()).unwrap();
    let schema = &shown["described"]["order"]["request"];
    assert_eq!(schema["required"], json!(["article"]));
    assert_eq!(schema["properties"]["count"]["type"], json!(["integer", "null"]));
}

#[test]
fn a_wrong_field_is_refused_with_the_nearest_right_one_before_the_call_is_made() {
    let broker = Broker::start();
    let description = broker.file("log.toml", "[methods.\"\"]\nrequest = { line = 'string' }\n");
    let calls = broker.directory().join("calls");
    let script = format!("cat >> {}", calls.display());
    let describe = description.to_str().unwrap();
    let _log = broker.serve("log", &["log", "--describe", describe, "--", "sh", "-c", &script]);
    let shown = ipcctl(&broker, ["show", "log"]).prints_text();
    assert!(shown.contains("log(line: string)"), "{shown}");
    let finished = ipcctl(&broker, ["send", "log", "lien=hello"]).run();
    let line = finished.refused(65);
    assert!(line.contains("there is no field `lien`") && line.contains("it has not run; did you mean line?"), "{line}");
    assert!(!calls.exists());
    ipcctl(&broker, ["send", "log", "line=hello"]).prints_text();
    assert_eq!(fs::read_to_string(&calls).unwrap(), r#"{"line":"hello"}"#);
}

#[test]
fn a_service_that_refuses_a_field_is_asked_which_it_has() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    for _ in 0..2 {
        let finished = ipcctl(&broker, ["send", "shop.order", "artcle=tea"]).run();
        let line = finished.refused(65);
        assert!(line.contains("did you mean article?"), "{line}");
    }
}

#[test]
fn a_method_is_called_in_bincode_by_what_it_says_of_its_types() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let reply =
        ipcctl(&broker, ["send", "--encoding", "bincode", "shop.order", "article=tea", "count:=2"]).prints_text();
    assert_eq!(reply, "{\"number\":7,\"lines\":[[\"tea\",2]]}\n");
    let finished = ipcctl(&broker, ["send", "--encoding", "bincode", "shop.order", "count:=-2", "article=tea"]).run();
    let line = finished.refused(65);
    assert!(line.contains("a whole number of 32 bits, 0 or more, found -2"), "{line}");
}

#[test]
fn fields_are_completed_with_what_stands_before_their_values() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    assert_eq!(ipcctl(&broker, ["complete", "--", "send", "shop.order", ""]).prints_text(), "article=\ncount:=\n");
    assert_eq!(ipcctl(&broker, ["complete", "--", "send", "shop.order", "article=tea", ""]).prints_text(), "count:=\n");
}

#[test]
fn a_field_that_a_shell_would_run_is_not_completed() {
    let broker = Broker::start();
    let fields = r#"{ "$(touch pwned)" = 'string', "a;b" = 'string', "a\u001b[2J\nb" = 'string', "*" = 'string', fine = 'string' }"#;
    let description = broker.file("evil.toml", format!("[methods.\"\"]\nrequest = {fields}\n"));
    let _evil = broker.serve("evil", &["evil", "--describe", description.to_str().unwrap(), "--", "cat"]);
    assert_eq!(ipcctl(&broker, ["complete", "--", "send", "evil", ""]).prints_text(), "fine=\n");
}

#[test]
fn a_small_reply_is_read_as_no_more_json_than_it_is_worth() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    let _: Value = peer.ask("register", &json!({ "name": "amp", "description": "00000000000000c1", "window": 9 }));
    let sent = ipcctl(&broker, ["send", "--encoding", "bincode", "amp", "null"]).start();
    let call = peer.delivered();
    let variants = json!({ "enum": [{ "name": "v".repeat(255), "holds": "unit" }] });
    let reply = json!({ "shape": { "list": { "type": "E" } }, "types": { "E": variants } });
    let said = json!({ "methods": { "": { "request": { "shape": "unit" }, "reply": reply } } });
    peer.send(&Message::Reply(Reply {
        id: call.id,
        encoding: Encoding::JSON,
        body: Bytes::from(said.to_string()).into(),
    }));
    let call = peer.delivered();
    let list = [&[251, 0x60, 0xea][..], &[0; 60_000]].concat();
    peer.send(&Message::Reply(Reply { id: call.id, encoding: Encoding::BINCODE, body: Bytes::from(list).into() }));
    let finished = sent.finish();
    let line = finished.refused(65);
    assert!(line.contains("too_large: the reply can't be read: as JSON it would take more than"), "{line}");
    assert!(line.contains("(the call has run)"), "{line}");
}

#[test]
fn a_service_does_not_speak_for_another_with_the_same_fingerprint() {
    let broker = Broker::start();
    let says = |name: &str, about: &str| {
        let mut service = JsonPeer::connect(&broker);
        service.ask("ipc.register", &json!({ "name": name, "description": "0000000000000077" }));
        let shown = ipcctl(&broker, ["show", name]).start();
        let (id, _) = service.delivered();
        service.answer(&id, &json!({ "about": about }));
        shown.finish().stdout()
    };
    assert!(says("liar", "believe me").contains("    believe me\n"));
    assert!(says("good", "all is well").contains("    all is well\n"));
}

#[test]
fn a_cache_behind_a_link_of_another_user_is_left_alone() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let (precious, home) = (broker.directory().join("precious"), broker.directory().join("home"));
    [&precious, &home].iter().for_each(|directory| fs::create_dir(directory).unwrap());
    (0..300).for_each(|number| fs::write(precious.join(format!("{number}.conf")), "data").unwrap());
    symlink(&precious, home.join("ipcctl")).unwrap();
    let shown = broker.ipcctl(["show", "shop"]).env("XDG_CACHE_HOME", &home).prints_text();
    assert!(shown.contains("sells what there is"), "{shown}");
    assert_eq!(fs::read_dir(&precious).unwrap().count(), 300);
}

#[test]
fn a_one_way_call_that_its_service_could_not_read_is_refused_before_it_is_made() {
    let broker = Broker::start();
    let _log = log(&broker);
    ipcctl(&broker, ["show", "log"]).prints_text();
    let finished = ipcctl(&broker, ["send", "--oneway", "log.note", "lien=hello"]).run();
    let line = finished.refused(65);
    assert!(line.contains("there is no field `lien`") && line.contains("did you mean line?"), "{line}");
    let _shop = shop(&broker);
    let finished = ipcctl(&broker, ["send", "--oneway", "shop.ordr", "article=tea"]).run();
    let line = finished.refused(67);
    assert!(line.contains("'shop' has no method 'ordr' (it has not run; did you mean shop.order?"), "{line}");
    ipcctl(&broker, ["send", "log.note", "line=hello"]).prints_text();
    assert_eq!(fs::read_to_string(broker.directory().join("calls")).unwrap(), r#"{"line":"hello"}"#);
}

#[test]
fn a_method_that_a_service_has_not_is_told_those_that_it_has() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    for arguments in [["send", "--encoding=bincode", "shop.ordr", "a=1"], ["send", "--raw", "shop.ordr", "a=1"]] {
        let finished = ipcctl(&broker, arguments).run();
        let line = finished.refused(67);
        assert!(
            line.contains("has no method") && line.contains("did you mean shop.order? see 'ipcctl show shop'"),
            "{line}"
        );
    }
    let finished = ipcctl(&broker, ["send", "shop.zzzz", "a=1"]).run();
    assert!(finished.refused(67).ends_with("(it has not run; see 'ipcctl show shop')"), "{}", finished.stderr);
    let finished = ipcctl(&broker, ["show", "shop.ordr"]).run();
    let line = finished.refused(67);
    assert!(line.ends_with("'shop' has no method 'ordr' (did you mean shop.order? see 'ipcctl show shop')"), "{line}");
}

#[test]
fn a_body_that_lacks_its_fields_is_told_which_the_method_takes() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let finished = ipcctl(&broker, ["send", "shop.order", "tea"]).run();
    let line = finished.refused(65);
    assert!(line.ends_with("(it has not run; shop.order takes article=… count:=…)"), "{line}");
    let finished = ipcctl(&broker, ["send", "shop.order"]).run();
    let line = finished.refused(65);
    assert!(line.ends_with("(it has not run; the body is empty; shop.order takes article=… count:=…)"), "{line}");
    let finished = ipcctl(&broker, ["send", "shop.order", "count:=1"]).run();
    let line = finished.refused(65);
    assert!(line.ends_with("(it has not run; shop.order takes article=… count:=…)"), "{line}");
}

#[test]
fn a_method_with_streams_is_told_how_it_is_called() {
    let broker = Broker::start();
    let _shop = shop(&broker);
    let finished = ipcctl(&broker, ["send", "shop.split", "text=a"]).run();
    assert!(finished.refused(65).ends_with("(it has not run; call it with --stream)"), "{}", finished.stderr);
    assert_eq!(ipcctl(&broker, ["send", "--stream", "shop.split", "text=a"]).prints_text(), "\"a\"\n");
}

#[test]
fn an_event_is_shown_like_a_method() {
    let broker = Broker::start();
    let _log = log(&broker);
    let shown = ipcctl(&broker, ["show", "log.noted"]).prints_text();
    assert_eq!(shown, "event log.noted line: string\n    a line was noted\n");
    let json: Value =
        serde_json::from_str(&ipcctl(&broker, ["-o", "json", "show", "log.noted"]).prints_text()).unwrap();
    assert_eq!((&json["events"]["log.noted"]["about"], &json["described"]), (&json!("a line was noted"), &Value::Null));
}

#[test]
fn methods_are_completed_behind_the_name_of_their_service() {
    let broker = Broker::start();
    let (_shop, _log) = (shop(&broker), log(&broker));
    let complete = |verb, word| ipcctl(&broker, ["complete", "--", verb, word]).prints_text();
    assert_eq!(complete("send", "shop."), "shop.order\nshop.split\n");
    assert_eq!(complete("send", "shop.o"), "shop.order\n");
    assert_eq!(complete("show", "log."), "log.note\nlog.noted\n");
    broker.ipcctl(["publish", "--retain", "log.kept", "x"]).prints();
    assert_eq!(complete("publish", "log."), "log.kept\nlog.noted\n");
    assert_eq!(complete("send", "sh"), "shop\nshop.order\nshop.split\n");
    assert_eq!(complete("wait", "shop."), "");
}

#[test]
fn a_description_that_is_wrong_ends_the_service_with_its_line() {
    let broker = Broker::start();
    let description = broker.file("wrong.toml", "about = 'x'\n[methods.a]\nreply = 'strng'\n");
    let finished = broker.ipcctl(["serve", "x", "--describe", description.to_str().unwrap(), "--", "cat"]).run();
    let line = finished.refused(78);
    assert!(line.contains("method 'a': \"strng\" is no type"), "{line}");
}
