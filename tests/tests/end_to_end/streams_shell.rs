//! `ipcctl send --stream` and `ipcctl serve --stream`.

use std::fs;

use ipc_client::{Context, Encoding, Failed, Items, Response, Service, Sink, StreamMethod};
use ipc_tests::{
    broker::{Broker, can},
    command::Command,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// Adds numbers up, and sends none itself.
#[derive(Serialize, Deserialize)]
struct Sum {
    from: u64,
}

impl StreamMethod for Sum {
    const SERVICE: &'static str = "sum";
    const METHOD: &'static str = "";
    const DOWNLOAD: bool = false;
    type In = u64;
    type Out = ();
    type Reply = u64;
    type Error = String;
}

fn sum(request: Sum, numbers: Items<u64>, _: Sink<()>, _: &Context) -> Result<u64, Failed<String>> {
    let sum = numbers.sum::<ipc_client::Result<u64>>().map_err(|error| Failed::invalid(error.to_string()))?;
    Ok(request.from + sum)
}

/// Bytes of which no part is like another.
fn content() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

#[test]
fn items_come_out_as_they_are_written() {
    let broker = Broker::start();
    let script = "echo one; until [ -e go ]; do sleep 0.01; done; echo two";
    let _service = broker.serve("tick", &["tick", "--stream", "--", "sh", "-c", script]);
    let reader = broker.ipcctl(["send", "tick", "--stream"]).start();
    reader.expect_output("one\n");
    broker.file("go", "");
    let finished = reader.finish();
    assert_eq!((finished.code, finished.stdout().as_str(), finished.stderr.as_str()), (0, "one\ntwo\n", ""));
}

#[test]
fn lines_go_through_a_filter_one_by_one() {
    let broker = Broker::start();
    let _service = broker.serve("upper", &["upper", "--stream", "--lines", "--", "sed", "-u", "s/.*/<&>/"]);
    let mut call = broker.ipcctl(["send", "upper", "--stream", "--lines", "-"]).interactive().start();
    call.write(b"a\n");
    call.expect_output("<a>\n");
    call.write(b"b\n\n");
    call.expect_output("<a>\n<b>\n<>\n");
    call.end_input();
    let finished = call.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}

#[test]
fn a_long_file_goes_both_ways_and_is_the_same_at_the_end() {
    let broker = Broker::start();
    broker.file("big", content());
    let _service = broker.serve("echo", &["echo", "--stream", "--", "cat"]);
    broker
        .shell("ipcctl send echo --stream - <big >copy; ipcctl send echo --stream --chunk 1000 @big >second")
        .prints();
    assert!(fs::read(broker.directory().join("copy")).unwrap() == content());
    assert!(fs::read(broker.directory().join("second")).unwrap() == content());
}

#[test]
fn the_body_comes_before_the_items() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--stream", "--", "cat"]);
    let echoed = broker.ipcctl(["send", "echo", "--stream", "a:=1", "-"]).input("items").prints_text();
    assert_eq!(echoed, "{\"a\":1}items");
    assert_eq!(broker.ipcctl(["send", "echo", "a plain call"]).prints_text(), "a plain call");
}

/// Where the output of a command is cut depends on when it writes. A piece may look like a JSON document.
#[test]
fn pieces_of_an_output_are_bytes_whatever_they_look_like() {
    let broker = Broker::start();
    let script = "printf 12; until [ -e go ]; do sleep 0.01; done; printf 34";
    let _service = broker.serve("pieces", &["pieces", "--stream", "--", "sh", "-c", script]);
    let reader = broker.ipcctl(["send", "pieces", "--stream", "a:=1"]).start();
    reader.expect_output("12");
    broker.file("go", "");
    assert_eq!(reader.finish().stdout(), "1234");
}

#[test]
fn a_command_reads_the_end_of_its_input_when_its_caller_sends_no_items() {
    let broker = Broker::start();
    let _service = broker.serve("echo", &["echo", "--stream", "--", "cat"]);
    assert_eq!(broker.ipcctl(["send", "-t", "5s", "echo", "--stream", "only a body"]).prints_text(), "only a body");
}

#[test]
fn a_service_that_only_takes_items_answers_with_its_reply() {
    let broker = Broker::start();
    let _serving = Service::new("sum").address(&broker.address()).stream(sum).start().unwrap();
    let sum = broker.ipcctl(["send", "sum", "--stream", "--lines", "from:=100", "-"]).input("1\n2\n3\n");
    assert_eq!(sum.prints_text(), "106\n");
}

/// As many programs in other languages are: they could send items, and send none.
#[test]
fn a_service_that_could_send_items_and_sends_none_answers_with_its_reply() {
    let broker = Broker::start();
    let counted = Service::new("store").address(&broker.address()).any_stream(|_, items, _, _| {
        let len: usize = items.map(|item| item.map_or(0, |item| item.body.len())).sum();
        Ok(Response::new(Encoding::JSON, len.to_string()))
    });
    let _serving = counted.start().unwrap();
    assert_eq!(broker.ipcctl(["send", "store.put", "--stream", "-"]).input("abc").prints_text(), "3\n");
    assert_eq!(broker.ipcctl(["send", "store.put", "--stream"]).prints_text(), "0\n");
}

#[test]
fn a_reply_behind_items_is_dropped_and_that_is_said_on_request() {
    let broker = Broker::start();
    let both = Service::new("both").address(&broker.address()).any_stream(|_, _, mut sink, _| {
        sink.send(Encoding::BYTES, "item").map_err(|error| Failed::busy(error.to_string()))?;
        Ok(Response::bytes("reply"))
    });
    let _serving = both.start().unwrap();
    for arguments in [&["send", "-v", "both", "--stream", "-"][..], &["send", "-v", "both", "--stream"]] {
        let finished = Command::ipcctl(arguments).socket(broker.socket()).run();
        assert_eq!((finished.code, finished.stdout().as_str()), (0, "item"));
        assert!(finished.stderr.contains("the reply behind the items, 5 bytes, isn't printed"), "{}", finished.stderr);
    }
}

#[test]
fn the_death_of_a_service_ends_a_stream_with_its_name() {
    let broker = Broker::start();
    let service = broker.serve("tick", &["tick", "--stream", "--", "sh", "-c", "echo one; exec sleep 971"]);
    let reader = broker.ipcctl(["send", "tick", "--stream"]).start();
    reader.expect_output("one\n");
    service.signal(Signal::SIGKILL);
    let finished = reader.finish();
    assert_eq!((finished.code, finished.stdout().as_str()), (74, "one\n"));
    assert!(finished.stderr.starts_with("ipcctl: tick: service_gone: "), "{}", finished.stderr);
}

#[test]
fn a_reader_that_goes_ends_the_stream_and_the_command() {
    let broker = Broker::start();
    let _service = broker.serve("yes", &["yes", "--stream", "--", "yes"]);
    let script =
        "{ ipcctl send yes --stream; echo $? >code; } | head -n 1; until [ -s code ]; do sleep 0.01; done; cat code";
    assert_eq!(broker.shell(script).prints_text(), "y\n141\n");
    broker.expect_stat("calls_pending", 0);
}

#[test]
fn a_command_that_fails_ends_its_stream_with_an_error() {
    let broker = Broker::start();
    let _service = broker.serve("half", &["half", "--stream", "--", "sh", "-c", "echo half; exit 3"]);
    let finished = broker.ipcctl(["send", "half", "--stream", "--propagate"]).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (3, "half\n"), "{}", finished.stderr);
}

#[test]
fn a_stream_in_which_nothing_comes_ends_at_the_time_given() {
    let broker = Broker::start();
    let _service = broker.serve("tick", &["tick", "--stream", "--", "sh", "-c", "echo one; exec sleep 971"]);
    let reader = broker.ipcctl(["send", "tick", "--stream", "-t", "400ms"]).run();
    assert_eq!((reader.code, reader.stdout().as_str()), (124, "one\n"));
    assert!(reader.stderr.contains("tick: deadline: nothing went to the service or came"), "{}", reader.stderr);
    let _echo = broker.serve("echo", &["echo", "--stream", "--", "cat"]);
    let sender = broker.ipcctl(["send", "echo", "--stream", "-t", "400ms", "-"]).interactive().start();
    sender.finish().refused(124);
}

#[test]
fn a_stream_may_take_longer_than_the_time_given_for_silence() {
    let broker = Broker::start();
    let script = "for n in 1 2 3 4 5 6; do echo $n; sleep 0.4; done";
    let _service = broker.serve("tick", &["tick", "--stream", "--", "sh", "-c", script]);
    let reader = broker.ipcctl(["send", "tick", "--stream", "-t", "2s"]).run();
    assert_eq!((reader.code, reader.stdout().as_str()), (0, "1\n2\n3\n4\n5\n6\n"), "{}", reader.stderr);
}

#[test]
fn a_command_that_fails_says_why() {
    let broker = Broker::start();
    let _service = broker.serve("no", &["no", "--stream", "--", "sh", "-c", "echo half; echo oops >&2; exit 9"]);
    let finished = broker.ipcctl(["send", "no", "--stream"]).run();
    assert_eq!(finished.stdout(), "half\n");
    assert!(finished.stderr.starts_with("ipcctl: no: app_error: oops"), "{}", finished.stderr);
}

// ---- on a terminal

/// A command on a terminal of its own, whose output and errors come out of `script`.
fn on_terminal(broker: &Broker, command: &str) -> Command {
    broker.shell(&format!("exec script -qefc '{command}' /dev/null"))
}

#[test]
fn a_long_upload_shows_how_far_it_is_and_when_it_will_end() {
    if !can("script -qec true /dev/null") {
        return;
    }
    let broker = Broker::start();
    broker.file("big", content());
    let script = "head -c 1000 >/dev/null; until [ -e go ]; do sleep 0.01; done; cat >/dev/null; echo kept";
    let _service = broker.serve("slow", &["slow", "--stream", "--", "sh", "-c", script]);
    let sender = on_terminal(&broker, "ipcctl send slow --stream @big").start();
    let shown = sender.expect_output(" left");
    assert!(shown.contains(" of 12.0 MB, ") && shown.contains(" MB/s, "), "{shown:?}");
    broker.file("go", "");
    let finished = sender.finish();
    assert_eq!(finished.code, 0);
    assert!(finished.stdout().ends_with("\r\u{1b}[Kkept\r\n"), "{:?}", finished.stdout());
}

#[test]
fn a_long_download_shows_its_rate_unless_it_is_to_be_quiet() {
    if !can("script -qec true /dev/null") {
        return;
    }
    let broker = Broker::start();
    let script = "head -c 1000000 /dev/zero; until [ -e go ]; do sleep 0.01; done";
    let _service = broker.serve("slow", &["slow", "--stream", "--jobs", "2", "--", "sh", "-c", script]);
    let quiet = on_terminal(&broker, "ipcctl -q send slow --stream >copied").start();
    let reader = on_terminal(&broker, "ipcctl send slow --stream >copy").start();
    reader.expect_output("1.0 MB, ");
    broker.file("go", "");
    let finished = reader.finish();
    assert!(finished.stdout().ends_with(" MB/s\u{1b}[K\r\u{1b}[K"), "{:?}", finished.stdout());
    assert_eq!((finished.code, fs::read(broker.directory().join("copy")).unwrap().len()), (0, 1_000_000));
    assert_eq!(quiet.finish().stdout(), "");
}

// ---- S9: two people chat

#[test]
fn s09_two_people_chat_until_one_of_them_ends_it() {
    let broker = Broker::start();
    let mut first = broker.ipcctl(["chat", "lobby"]).interactive().start();
    broker.wait_for("lobby");
    let mut second = broker.ipcctl(["chat", "lobby"]).interactive().start();
    second.write(b"hello\n");
    first.expect_output("hello\n");
    first.write(b"good evening\n");
    second.expect_output("good evening\n");
    broker.ipcctl(["chat", "lobby"]).interactive().run().refused(75);
    second.write(b"bye\n");
    second.end_input();
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.code, first.stdout().as_str(), first.stderr.as_str()), (0, "hello\nbye\n", ""));
    assert_eq!((second.code, second.stdout().as_str(), second.stderr.as_str()), (0, "good evening\n", ""));
}

#[test]
fn s09_the_one_who_waited_may_end_it_as_well() {
    let broker = Broker::start();
    let mut first = broker.ipcctl(["chat", "lobby"]).interactive().start();
    broker.wait_for("lobby");
    let second = broker.ipcctl(["chat", "lobby"]).interactive().start();
    first.write(b"last words\n");
    second.expect_output("last words\n");
    first.end_input();
    let (first, second) = (first.finish(), second.finish());
    assert_eq!((first.code, first.stderr.as_str(), second.code, second.stderr.as_str()), (0, "", 0, ""));
}

#[test]
fn s09_the_death_of_one_is_an_error_for_the_other() {
    let broker = Broker::start();
    let mut first = broker.ipcctl(["chat", "lobby"]).interactive().start();
    broker.wait_for("lobby");
    let second = broker.ipcctl(["chat", "lobby"]).interactive().start();
    first.write(b"hello\n");
    second.expect_output("hello\n");
    first.signal(Signal::SIGKILL);
    let second = second.finish();
    assert_eq!(second.code, 74);
    assert!(second.stderr.starts_with("ipcctl: lobby: service_gone: "), "{}", second.stderr);
}

#[test]
fn s09_one_who_waits_without_a_word_to_say_ends() {
    let broker = Broker::start();
    let alone = broker.ipcctl(["chat", "lobby"]).run();
    assert_eq!((alone.code, alone.stderr.as_str()), (0, ""));
    let alone = broker.ipcctl(["chat", "lobby", "-t", "300ms"]).input("hi\n").run();
    assert!(alone.refused(124).contains("lobby: deadline: no other one came within 300ms"), "{}", alone.stderr);
}

#[test]
fn s09_one_who_waits_ends_with_the_broker() {
    let mut broker = Broker::in_process("");
    let waiting = broker.ipcctl(["chat", "lobby"]).interactive().start();
    broker.wait_for("lobby");
    broker.daemon().expect("it is a process").kill();
    waiting.finish().refused(74);
}

#[test]
fn s09_one_who_leaves_is_missed_by_the_one_who_waited() {
    let broker = Broker::start();
    let first = broker.ipcctl(["chat", "lobby"]).interactive().start();
    broker.wait_for("lobby");
    let mut second = broker.ipcctl(["chat", "lobby"]).interactive().start();
    second.write(b"hello\n");
    first.expect_output("hello\n");
    second.signal(Signal::SIGINT);
    let first = first.finish();
    assert_eq!(first.code, 74);
    assert!(first.stderr.starts_with("ipcctl: lobby: service_gone: the other one has left"), "{}", first.stderr);
}
