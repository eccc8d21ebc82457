//! `ipcctl publish`, `subscribe` and `topics`.

use std::{collections::BTreeSet, fs};

use ipc_client::{Client, Publication};
use ipc_tests::{
    broker::{Broker, STRANGER},
    command::{Command, Running},
    eventually::{SOON, eventually},
    proc,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Starts `ipcctl subscribe` and waits until the broker has subscribed it.
pub(crate) fn subscribe(broker: &Broker, arguments: &[&str]) -> Running {
    subscribed(broker, broker.ipcctl([&["subscribe"], arguments].concat()))
}

/// Starts a command that makes one more subscription, and waits for that.
pub(crate) fn subscribed(broker: &Broker, command: Command) -> Running {
    let before = subscriptions(broker);
    let running = command.start();
    eventually(SOON, "one more subscription", || subscriptions(broker) > before);
    running
}

fn subscriptions(broker: &Broker) -> u64 {
    broker.stat("subscriptions")
}

fn publish(broker: &Broker, arguments: &[&str]) {
    assert_eq!(broker.ipcctl([&["publish"], arguments].concat()).prints_text(), "");
}

/// Publishes many events over one connection, and waits until the broker has them.
fn announce<'a>(broker: &Broker, events: impl Iterator<Item = (&'a str, String)>) {
    let client = Client::connect_to(&broker.address()).unwrap();
    events.for_each(|(topic, body)| {
        client.announce_bytes(&Publication::new(topic.parse().unwrap(), body)).unwrap();
    });
    client.ping().unwrap();
}

/// The lines of a text, each a document.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

// ---- one line an event

#[test]
fn each_event_is_a_line_before_the_next_is_published() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["news.", "-n", "3"]);
    ["one", "two", "three"].iter().for_each(|word| {
        publish(&broker, &["news.local", word]);
        reader.expect_output(&format!("{word}\n"));
    });
    let finished = reader.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    assert_eq!(finished.stdout(), "one\ntwo\nthree\n");
}

#[test]
fn each_event_is_a_line_at_once_in_a_pipe_as_well() {
    let broker = Broker::start();
    let reader = subscribed(&broker, broker.shell("ipcctl subscribe news. -n 3 | cat"));
    ["one", "two", "three"].iter().for_each(|word| {
        publish(&broker, &["news.local", word]);
        reader.expect_output(&format!("{word}\n"));
    });
    assert_eq!(reader.finish().stdout(), "one\ntwo\nthree\n");
}

#[test]
fn a_json_body_is_one_line_and_a_body_of_several_lines_is_told() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t", "-n", "3"]);
    publish(&broker, &["t", "--encoding", "json", "{\n \"a\": 1\n}\n"]);
    publish(&broker, &["t", "first\nforged\n"]);
    publish(&broker, &["t", "ends in a line break\n"]);
    publish(&broker, &["t", "a:=1", "b=x"]);
    let finished = reader.finish();
    assert_eq!(finished.stdout(), "{  \"a\": 1 }\nends in a line break\n{\"a\":1,\"b\":\"x\"}\n");
    assert!(finished.stderr.starts_with("ipcctl: t: an event of several lines is not printed"), "{}", finished.stderr);
}

#[test]
fn with_json_output_an_event_says_where_it_is_from() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t.", "-n", "4", "-o", "json"]);
    publish(&broker, &["t.a", "x:=[1, 2.50]"]);
    publish(&broker, &["t.b", "two\nlines\n"]);
    broker.shell(r"printf '\377\376' | ipcctl publish t.c -").prints();
    publish(&broker, &["t.d", "--datagram", "by datagram"]);
    let output = reader.finish().stdout();
    assert!(output.contains(r#""encoding":"json","body":{"x":[1, 2.50]}}"#), "{output}");
    let events = documents(&output);
    let bodies: Vec<_> = events.iter().map(|event| [&event["topic"], &event["text"], &event["base64"]]).collect();
    assert_eq!(bodies[1], [&json!("t.b"), &json!("two\nlines\n"), &Value::Null]);
    assert_eq!(bodies[2], [&json!("t.c"), &Value::Null, &json!("//4=")]);
    let publisher = &events[0]["publisher"];
    assert_eq!(publisher["uid"], json!(rustix::process::geteuid().as_raw()));
    assert!(publisher["pid"].is_u64() && publisher["peer"].is_u64(), "{publisher}");
    assert_eq!((&events[0]["sequence"], &events[0]["retained"]), (&json!(1), &json!(false)));
    assert_eq!((&events[3]["sequence"], &events[3]["publisher"]["peer"]), (&Value::Null, &Value::Null));
}

#[test]
fn several_patterns_are_read_in_the_order_of_the_publisher() {
    let broker = Broker::start();
    let before = subscriptions(&broker);
    let reader = broker.ipcctl(["subscribe", "a.*", "b.", "c", "-n", "3000", "-o", "json"]).start();
    eventually(SOON, "three subscriptions", || subscriptions(&broker) == before + 3);
    let topics = ["a.x", "c", "b.x.y", "b.x", "a.x", "c"];
    announce(&broker, topics.iter().cycle().take(3_000).map(|topic| (*topic, "x".to_owned())));
    let events = documents(&reader.finish().stdout());
    let sequences: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences.len(), 3000);
    assert!(sequences.is_sorted(), "{sequences:?}");
}

#[test]
fn an_event_that_matches_two_patterns_comes_once_for_each() {
    let broker = Broker::start();
    let before = subscriptions(&broker);
    let reader = broker.ipcctl(["subscribe", "a.", "a.b", "-n", "2"]).start();
    eventually(SOON, "two subscriptions", || subscriptions(&broker) == before + 2);
    publish(&broker, &["a.b", "x"]);
    assert_eq!(reader.finish().stdout(), "x\nx\n");
}

// ---- when it ends

#[test]
fn too_few_events_in_time_exit_124_and_say_how_many_came() {
    let broker = Broker::start();
    let none = broker.ipcctl(["subscribe", "news.", "-t", "100ms"]).run();
    assert!(none.refused(124).contains("news.: deadline: no event came within 100ms"), "{}", none.stderr);
    publish(&broker, &["news.a", "kept", "--retain"]);
    let one = broker.ipcctl(["subscribe", "news.", "--last", "-n", "2", "-t", "300ms"]).run();
    assert_eq!((one.code, one.stdout().as_str()), (124, "kept\n"));
    assert!(one.stderr.contains("1 of 2 events came within 300ms"), "{}", one.stderr);
    let some = broker.ipcctl(["subscribe", "news.", "--last", "-t", "300ms"]).run();
    assert_eq!((some.code, some.stdout().as_str(), some.stderr.as_str()), (0, "kept\n", ""));
}

#[test]
fn a_signal_ends_it_quietly() {
    let broker = Broker::start();
    let ends = [
        (&["t"][..], Signal::SIGTERM, 0),
        (&["t"][..], Signal::SIGHUP, 0),
        (&["t"][..], Signal::SIGINT, 130),
        (&["t", "-n", "2"][..], Signal::SIGTERM, 143),
    ];
    for (arguments, signal, code) in ends {
        let reader = subscribe(&broker, arguments);
        publish(&broker, &["t", "x"]);
        reader.expect_output("x\n");
        reader.signal(signal);
        let finished = reader.finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (code, ""), "{arguments:?} {signal}");
        eventually(SOON, "no subscription", || subscriptions(&broker) == 0);
    }
}

#[test]
fn a_reader_that_goes_ends_it_quietly_without_another_event() {
    let broker = Broker::start();
    let script = "{ ipcctl subscribe t; echo $? >code; } | head -n 1; until [ -s code ]; do sleep 0.01; done; cat code";
    let reader = subscribed(&broker, broker.shell(script));
    publish(&broker, &["t", "x"]);
    let finished = reader.finish();
    assert_eq!((finished.stdout().as_str(), finished.stderr.as_str()), ("x\n141\n", ""));
}

#[test]
fn a_reader_that_stops_reading_does_not_keep_a_signal_out() {
    let broker = Broker::start();
    let reader = subscribed(&broker, broker.shell("ipcctl subscribe t & echo $! >pid; wait $! | sleep 971"));
    announce(&broker, (0..100).map(|_| ("t", "x".repeat(10_000))));
    let pid = fs::read_to_string(broker.directory().join("pid")).unwrap();
    broker.shell(&format!("kill {pid}")).prints();
    eventually(SOON, "no subscription", || subscriptions(&broker) == 0);
    drop(reader);
}

#[test]
fn output_that_is_full_or_closed_is_no_success_in_silence() {
    let broker = Broker::start();
    publish(&broker, &["t", "x", "--retain"]);
    let full = broker.shell("ipcctl subscribe t --last -n 1 >/dev/full").run();
    assert!(full.refused(74).contains("No space left"), "{}", full.stderr);
    assert!(!full.stderr.contains("the call has run"), "{}", full.stderr);
    let closed = broker.shell("ipcctl subscribe t --last -n 1 >&-").run();
    assert!(matches!(closed.code, 0 | 74), "{} {}", closed.code, closed.stderr);
}

#[test]
fn it_ends_with_its_private_broker() {
    let finished = Command::ipcctl(["run", "--", "sh", "-c", "ipcctl subscribe t & ipcctl ping >/dev/null"]).run();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
fn a_restart_of_the_broker_is_told_once_and_survived() {
    let mut broker = Broker::in_process("");
    let text = subscribe(&broker, &["news.", "-n", "2"]);
    let json = subscribe(&broker, &["news.", "-o", "json"]);
    publish(&broker, &["news.a", "before"]);
    text.expect_output("before\n");
    broker.restart();
    text.expect_error("ipcctl: news.: subscribed again");
    json.expect_output("{\"pattern\":\"news.\",\"resumed\":true}\n");
    publish(&broker, &["news.a", "after"]);
    let finished = text.finish();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "before\nafter\n"));
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    json.expect_output("after");
}

// ---- losses

/// Publishes while the reader is stopped, and lets it go on.
fn flood(broker: &Broker, reader: &Running, events: u64) {
    reader.signal(Signal::SIGSTOP);
    eventually(SOON, "a stopped reader", || proc::state(reader.pid()) == Some('T'));
    announce(broker, (0..events).map(|at| ("t", format!("{at:>1000}"))));
    reader.signal(Signal::SIGCONT);
}

#[test]
fn losses_are_told_on_standard_error_and_add_up() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t", "--queue", "10"]);
    flood(&broker, &reader, 3_000);
    reader.expect_output("2999\n");
    reader.expect_error("ipcctl: t: lost ");
    reader.signal(Signal::SIGTERM);
    let finished = reader.finish();
    let gaps = finished.stderr.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    assert_eq!(gaps.sum::<usize>() + finished.stdout().lines().count(), 3_000, "{}", finished.stderr);
}

#[test]
fn losses_are_lines_of_json_between_the_events() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t", "--queue", "10", "--policy", "drop-oldest", "-o", "json"]);
    flood(&broker, &reader, 3_000);
    reader.expect_output("2999\"");
    reader.signal(Signal::SIGTERM);
    let finished = reader.finish();
    let lines = documents(&finished.stdout());
    let lost: u64 = lines.iter().filter_map(|line| line["gap"].as_u64()).sum();
    let events = lines.iter().filter(|line| line["topic"] == "t").count();
    assert_eq!(lost + events as u64, 3_000);
    assert!(lost > 0 && lines.iter().any(|line| line["pattern"] == "t"));
    assert_eq!(finished.stderr, "");
}

// ---- kept events

#[test]
fn a_kept_event_comes_first_until_it_is_cleared() {
    let broker = Broker::start();
    publish(&broker, &["home.kitchen", "--retain", "celsius:=20"]);
    publish(&broker, &["home.kitchen", "--retain", "celsius:=21.5"]);
    publish(&broker, &["home.hall", "--datagram", "--retain", "warm"]);
    eventually(SOON, "two kept events", || broker.ipcctl(["topics"]).prints_text().lines().count() == 3);
    let table = broker.ipcctl(["topics", "home."]).prints_text();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(4).collect()).collect();
    let uid = rustix::process::geteuid().as_raw().to_string();
    assert_eq!(rows[0], ["topic", "bytes", "encoding", "uid"]);
    assert_eq!(rows[1], ["home.hall", "4", "bytes", &uid]);
    assert_eq!(rows[2], ["home.kitchen", "16", "json", &uid]);
    let last = broker.ipcctl(["subscribe", "home.kitchen", "--last", "-n", "1", "-o", "json"]).prints_text();
    let last = &documents(&last)[0];
    assert_eq!((&last["retained"], &last["body"]["celsius"]), (&json!(true), &json!(21.5)));
    publish(&broker, &["home.kitchen", "--clear"]);
    let left = documents(&broker.ipcctl(["topics", "-o", "json"]).prints_text());
    assert_eq!((left.len(), &left[0]["topic"], &left[0]["bytes"]), (1, &json!("home.hall"), &json!(4)));
}

#[test]
fn an_event_without_a_body_is_not_kept_and_clears_nothing() {
    let broker = Broker::start();
    publish(&broker, &["st", "--retain", "x"]);
    let empty = |arguments: &[&str]| broker.ipcctl([&["publish", "st", "--retain"], arguments].concat()).input("");
    for arguments in [&["-"][..], &[""], &[]] {
        let refused = empty(arguments).run();
        assert!(refused.refused(2).contains("(--clear clears it)"), "{}", refused.stderr);
    }
    let lines = empty(&["--lines", "-"]).input("y\n\nz\n").run();
    assert!(lines.refused(2).contains("line 2: "), "{}", lines.stderr);
    assert_eq!(broker.ipcctl(["subscribe", "st", "--last", "-n", "1"]).prints_text(), "y\n");
}

#[test]
fn bash_offers_the_topics_that_are_kept() {
    let broker = Broker::start();
    ["news.local", "news.world", "other"].iter().for_each(|topic| publish(&broker, &[topic, "x", "--retain"]));
    let offered = |words: &[&str]| broker.ipcctl([&["complete", "--"], words].concat()).prints_text();
    assert_eq!(offered(&["publish", "--clear", "ne"]), "news.local\nnews.world\n");
    assert_eq!(offered(&["subscribe", "other", "news.w"]), "news.world\n");
    assert_eq!(offered(&["topics", ""]).lines().count(), 3);
    assert_eq!(offered(&["subs"]), "subscribe\n");
}

// ---- publishing

#[test]
fn publishing_succeeds_without_subscribers_and_says_how_many_there_are_on_request() {
    let broker = Broker::start();
    publish(&broker, &["news.a", "nobody listens"]);
    let _readers = [subscribe(&broker, &["news."]), subscribe(&broker, &["news.a"])];
    assert_eq!(broker.ipcctl(["-o", "json", "publish", "news.a", "x"]).prints_text(), "{\"subscribers\":2}\n");
    let verbose = broker.ipcctl(["-v", "publish", "news.a", "x"]).run();
    assert!(verbose.stderr.contains("news.a: sent to 2 subscribers"), "{}", verbose.stderr);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let broker = Broker::start();
    broker.ipcctl(["publish", "ipc.name.added", "x"]).run().refused(77);
    broker.ipcctl(["publish", "a..b", "x"]).run().refused(2);
    broker.ipcctl(["publish", "t", "x", "--clear"]).run().refused(2);
    broker.ipcctl(["publish", "t", "-"]).input(vec![b'x'; (1 << 20) + 1]).run().refused(65);
    broker.ipcctl(["publish", "t", "--lines", "x"]).run().refused(2);
    Command::ipcctl(["publish", "t", "x"]).socket("/nowhere/ipcd.sock").run().refused(69);
}

#[test]
fn lines_of_a_file_are_events_in_order() {
    let broker = Broker::start();
    let lines: Vec<String> = (0..20_000).map(|at| at.to_string()).collect();
    broker.file("lines", lines.join("\n"));
    let reader = subscribe(&broker, &["log.app", "-n", "20000", "--queue", "20000", "--policy", "cut"]);
    publish(&broker, &["log.app", "--lines", "@lines"]);
    let finished = reader.finish();
    assert_eq!(finished.stdout().lines().count(), 20_000, "{}", finished.stderr);
    assert!(finished.stdout().lines().eq(lines.iter().map(String::as_str)));
}

#[test]
fn a_line_is_published_as_soon_as_it_is_complete() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["log", "-n", "2"]);
    let mut writer = broker.ipcctl(["publish", "log", "--lines", "-"]).interactive().start();
    writer.write(b"first\nsec");
    reader.expect_output("first\n");
    writer.write(b"ond\n");
    assert_eq!(reader.finish().stdout(), "first\nsecond\n");
    writer.end_input();
    assert_eq!(writer.finish().code, 0);
}

#[test]
fn the_line_that_is_refused_is_named() {
    let broker = Broker::with_config("[limits]\nretained_bytes_per_uid = 4096\n");
    let long = format!("short\n{}\nshort\n", "x".repeat(8_000));
    let refused = broker.ipcctl(["publish", "t", "--retain", "--lines", "-"]).input(long).run();
    assert!(refused.refused(75).starts_with("ipcctl: t: busy: line 2: "), "{}", refused.stderr);
    let invalid = broker.ipcctl(["publish", "t", "--lines", "--encoding", "json", "-"]).input("{}\nno\n").run();
    assert!(invalid.refused(65).contains("line 2: the line is not JSON"), "{}", invalid.stderr);
    let user = broker.ipcctl(["publish", "t", "--lines", "-"]).input("a\nb\n").user(STRANGER).run();
    assert!(user.refused(77).contains("line 1: "), "{}", user.stderr);
}

#[test]
fn a_publisher_of_lines_keeps_few_of_them_in_memory() {
    let broker = Broker::start();
    let lines = "yes $(head -c 9999 /dev/zero | tr '\\0' x) | head -c 200000000";
    let publishes = "ulimit -v 100000; ipcctl publish log --lines -";
    assert_eq!(broker.shell(&format!("{lines} | ({publishes})")).prints_text(), "");
}

// ---- commands

#[test]
fn a_command_takes_each_event_in_order_with_the_body_on_its_input() {
    let broker = Broker::start();
    let script =
        r#"printf '%s %s %s %s ' "$IPC_TOPIC" "$IPC_PUBLISHER_UID" "$IPC_SEQUENCE" "$IPC_ENCODING"; cat; echo"#;
    let reader = subscribe(&broker, &["job.", "-n", "3", "--exec", "sh", "-euc", script]);
    publish(&broker, &["job.a", "$(reboot)"]);
    publish(&broker, &["job.b", "x=1"]);
    publish(&broker, &["job.c", "--datagram", "last"]);
    let finished = reader.finish();
    let uid = rustix::process::geteuid().as_raw();
    let expected =
        format!("job.a {uid} 1 bytes $(reboot)\njob.b {uid} 1 json {{\"x\":\"1\"}}\njob.c {uid}  bytes last\n");
    assert_eq!((finished.stdout(), finished.stderr.as_str()), (expected, ""));
}

#[test]
fn a_body_is_never_on_a_command_line_or_in_an_environment() {
    let broker = Broker::start();
    let script = "tr '\\0' '\\n' </proc/self/environ; tr '\\0' '\\n' </proc/$$/cmdline";
    let reader = subscribe(&broker, &["t", "-n", "1", "--exec", "--", "sh", "-c", script]);
    publish(&broker, &["t", "a secret body"]);
    let output = reader.finish().stdout();
    assert!(output.contains("IPC_TOPIC=t") && !output.contains("secret"), "{output}");
}

#[test]
fn a_command_that_fails_is_told_in_json() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t", "-n", "1", "-o", "json", "--exec", "sh", "-c", "exit 3"]);
    publish(&broker, &["t", "x"]);
    let told = documents(&reader.finish().stderr).remove(0);
    assert_eq!((&told["error"], &told["target"]), (&json!("failed"), &json!("t")));
    assert!(told["message"].as_str().unwrap().contains('3'), "{told}");
}

#[test]
fn too_many_patterns_are_told_what_to_do() {
    let broker = Broker::with_config("[limits]\nsubscriptions_per_peer = 2\n");
    let refused = broker.ipcctl(["subscribe", "a", "b", "c"]).run();
    assert!(refused.refused(75).contains("use fewer patterns"), "{}", refused.stderr);
    let late = broker.ipcctl(["subscribe", "a", "b", "-t", "10ms"]).run();
    assert!(late.refused(124).starts_with("ipcctl: a and 1 more: deadline: "), "{}", late.stderr);
}

#[test]
fn a_command_that_fails_is_told_and_the_next_event_is_taken() {
    let broker = Broker::start();
    let reader = subscribe(
        &broker,
        &["t", "-n", "3", "--exec", "sh", "-c", "read -r code; [ \"$code\" != kill ] || kill $$; exit $code"],
    );
    ["3\n", "kill\n", "0\n"].iter().for_each(|body| publish(&broker, &["t", body]));
    let finished = reader.finish();
    assert_eq!(finished.code, 0);
    let expected = "ipcctl: t: the command exited with 3\nipcctl: t: the command was killed by SIGTERM\n";
    assert_eq!(finished.stderr, expected);
    let missing = broker.ipcctl(["subscribe", "t", "--exec", "no-such-command"]).run();
    missing.refused(127);
}

#[test]
fn jobs_take_events_at_the_same_time() {
    let broker = Broker::start();
    // Each waits for the other three.
    let script = "touch at-$IPC_SEQUENCE-$$; until [ $(ls -d at-* | wc -l) = 4 ]; do sleep 0.01; done; echo done";
    let reader = subscribe(&broker, &["t", "-n", "4", "--jobs", "4", "--exec", "sh", "-c", script]);
    (0..4).for_each(|_| publish(&broker, &["t"]));
    assert_eq!(reader.finish().stdout(), "done\n".repeat(4));
}

#[test]
fn a_signal_lets_commands_finish_and_a_second_one_ends_them() {
    let broker = Broker::start();
    let finishing =
        subscribe(&broker, &["t", "--exec", "sh", "-c", "echo began; until [ -e go ]; do sleep 0.01; done; echo done"]);
    publish(&broker, &["t"]);
    finishing.expect_output("began\n");
    finishing.signal(Signal::SIGTERM);
    broker.file("go", "");
    let finished = finishing.finish();
    assert_eq!((finished.code, finished.stdout().as_str(), finished.stderr.as_str()), (0, "began\ndone\n", ""));

    let hanging = subscribe(&broker, &["t", "--exec", "sh", "-c", "echo $$; exec sleep 971"]);
    publish(&broker, &["t"]);
    let pid = hanging.expect_output("\n").trim().to_owned();
    hanging.signal(Signal::SIGTERM);
    hanging.signal(Signal::SIGTERM);
    eventually(SOON, "the end of the command", || !fs::exists(format!("/proc/{pid}")).unwrap());
    assert_eq!(hanging.finish().code, 0);
}

#[test]
fn commands_end_with_a_subscriber_that_is_killed() {
    let broker = Broker::start();
    let reader = subscribe(&broker, &["t", "--exec", "sh", "-c", "echo $$; exec sleep 971"]);
    publish(&broker, &["t"]);
    let pid = reader.expect_output("\n").trim().to_owned();
    reader.signal(Signal::SIGKILL);
    eventually(SOON, "the end of the command", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

// ---- S18: broadcast

#[test]
fn s18_a_broadcast_reaches_all_subscribers_whose_patterns_match() {
    let broker = Broker::start();
    let patterns =
        ["home.", "home.*.temperature", "home.kitchen.**", "home.kitchen.temperature", "home.hall.temperature"];
    let readers: Vec<Vec<Running>> =
        patterns.iter().map(|pattern| (0..4).map(|_| subscribe(&broker, &[pattern, "-o", "json"])).collect()).collect();
    publish(&broker, &["home.kitchen.temperature", "celsius:=21.5"]);
    publish(&broker, &["home.kitchen.light", "on"]);
    publish(&broker, &["home.hall.temperature", "celsius:=18"]);
    publish(&broker, &["away", "nobody"]);
    publish(&broker, &["home.kitchen.temperature", "celsius:=-1"]);
    publish(&broker, &["home.hall.temperature", "celsius:=-1"]);
    let told: Vec<BTreeSet<String>> =
        readers.into_iter().map(|readers| readers.into_iter().map(told).collect()).collect();
    let expected = ["ktemp light htemp", "ktemp htemp", "ktemp light", "ktemp", "htemp"];
    let expected: Vec<BTreeSet<String>> = expected.iter().map(|text| BTreeSet::from([(*text).to_owned()])).collect();
    assert_eq!(told, expected);
}

/// What a reader was told before the first value of -1, which ends each story.
fn told(reader: Running) -> String {
    reader.expect_output("-1");
    reader.signal(Signal::SIGTERM);
    let events = documents(&reader.finish().stdout());
    let names =
        events.iter().take_while(|event| event["body"]["celsius"] != json!(-1)).map(|event| {
            match event["topic"].as_str().unwrap() {
                "home.kitchen.temperature" => "ktemp",
                "home.kitchen.light" => "light",
                _ => "htemp",
            }
        });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn s18_a_late_subscriber_has_the_last_value_of_each_sensor() {
    let broker = Broker::start();
    ["kitchen 21.5", "hall 18", "kitchen 22"].iter().for_each(|reading| {
        let (room, celsius) = reading.split_once(' ').unwrap();
        publish(&broker, &[&format!("home.{room}.temperature"), "--retain", &format!("celsius:={celsius}")]);
    });
    let late = broker.ipcctl(["subscribe", "home.*.temperature", "--last", "-n", "2"]).prints_text();
    let late: BTreeSet<&str> = late.lines().collect();
    assert_eq!(late, BTreeSet::from(["{\"celsius\":18}", "{\"celsius\":22}"]));
}

#[test]
fn events_that_came_in_time_are_taken_although_commands_are_slow() {
    let broker = Broker::start();
    let slow = "cat; echo; until [ -e go ]; do sleep 0.01; done";
    let reader = broker.ipcctl(["subscribe", "a.b", "-n", "2", "-t", "3s", "--exec", "sh", "-c", slow]).start();
    broker.expect_stat("subscriptions", 1);
    broker.shell("ipcctl publish a.b one && ipcctl publish a.b two").prints();
    reader.expect_output("one\n");
    broker.shell("sleep 3.2; : >go").prints();
    let finished = reader.finish();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "one\ntwo\n"), "{}", finished.stderr);
}
