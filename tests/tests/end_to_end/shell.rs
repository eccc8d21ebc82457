//! The contract with the shell: standard streams, exit codes, error lines, odd arguments.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use ipc_protocol::{Call, ERROR_TABLE, Encoding, FieldTag, Message, Routing};
use ipc_tests::{
    broker::{Broker, STRANGER, is_root, skip},
    command::{Command, Running},
    eventually::{SOON, eventually},
    peer::Peer,
    programs::Programs,
};

/// A broker with the service `upper`.
fn upper() -> (Broker, Running) {
    let broker = Broker::start();
    let service = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    (broker, service)
}

// ---- standard streams

#[test]
fn standard_input_is_read_only_when_asked_for() {
    let (broker, _service) = upper();
    assert_eq!(broker.shell("echo left | { ipcctl send upper a; cat; }").prints_text(), "Aleft\n");
}

#[test]
fn closed_standard_input_changes_nothing() {
    let (broker, _service) = upper();
    assert_eq!(broker.shell("ipcctl send upper a <&-").prints_text(), "A");
    assert_eq!(broker.shell("ipcctl send upper - <&-").prints_text(), "");
    assert_eq!(broker.shell("ipcctl run -- sh -c 'echo ran' <&-").prints_text(), "ran\n");
}

#[test]
fn closed_standard_error_keeps_the_exit_code() {
    let (broker, _service) = upper();
    assert_eq!(broker.shell("ipcctl send upper a 2>&-").prints_text(), "A");
    assert_eq!(broker.shell("ipcctl send nobody 2>&-").run().code, 68);
    assert_eq!(broker.shell("ipcctl --no-such-option 2>&-").run().code, 2);
}

#[test]
fn closed_standard_output_does_no_harm() {
    let (broker, _service) = upper();
    for script in ["ipcctl send upper a >&-", "ipcctl list >&-", "ipcctl --help >&-", "ipcctl run -- true >&-"] {
        let finished = broker.shell(script).run();
        assert!(matches!(finished.code, 0 | 74), "{script}: {} {}", finished.code, finished.stderr);
    }
    broker.shell("ipcctl send nobody >&-").run().refused(68);
}

#[test]
fn all_standard_streams_may_be_closed() {
    let broker = Broker::start();
    let _service = broker.shell("exec ipcctl serve touch -- touch ran <&- >&- 2>&-").start();
    broker.wait_for("touch");
    assert!(matches!(broker.shell("ipcctl send touch <&- >&- 2>&-").run().code, 0 | 74));
    assert!(broker.directory().join("ran").exists());
}

#[test]
fn a_full_output_exits_74_and_says_that_the_call_has_run() {
    let (broker, _service) = upper();
    let finished = broker.shell("ipcctl send upper a >/dev/full").run();
    assert!(finished.refused(74).contains("No space left"), "{}", finished.stderr);
}

#[test]
fn a_reader_that_has_gone_ends_it_silently() {
    let (broker, _service) = upper();
    let script = "{ ipcctl send upper - <big; echo $? >code; } | head -c 1 >/dev/null; cat code";
    broker.file("big", vec![b'x'; 1 << 20]);
    assert_eq!(broker.shell(script).prints_text(), "141\n");
}

#[test]
fn errors_go_to_standard_error_and_only_payload_to_standard_output() {
    let (broker, _service) = upper();
    let finished = broker.shell("ipcctl -v send upper a").run();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "A"));
}

#[test]
fn the_command_of_run_may_be_ipcctl_wherever_that_is() {
    let listed = Command::ipcctl(["run", "--", "ipcctl", "list"]).env("PATH", "/bin:/usr/bin").run();
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
}

// ---- on a terminal

/// The output of a command on a terminal.
fn on_a_terminal(broker: &Broker, script: &str) -> Option<String> {
    if broker.shell("command -v script").run().code != 0 {
        skip("there is no script(1), which gives a command a terminal");
        return None;
    }
    let on_a_terminal = Command::new("script", ["--quiet", "--return", "--command", script, "/dev/null"]);
    let finished = on_a_terminal.socket(broker.socket()).directory(broker.directory()).run();
    Some(finished.stdout())
}

#[test]
fn a_terminal_receives_control_characters_escaped() {
    let broker = Broker::start();
    let _service = broker.serve("evil", &["evil", "--", "printf", r"\033]0;owned\007ok\n"]);
    let Some(shown) = on_a_terminal(&broker, "ipcctl send evil") else { return };
    assert!(!shown.contains('\u{1b}') && shown.contains(r"\u{1b}]0;owned\u{7}ok"), "{shown:?}");
    assert_eq!(broker.ipcctl(["send", "evil"]).prints(), b"\x1b]0;owned\x07ok\n", "a pipe gets it as it is");
}

#[test]
fn a_terminal_receives_the_control_characters_of_events_escaped() {
    let broker = Broker::start();
    broker.shell(r"printf '\033]0;owned\007ok' | ipcctl publish evil --retain -").prints();
    for script in ["ipcctl subscribe evil --last -n 1", "ipcctl subscribe evil --last -n 1 -o json"] {
        let Some(shown) = on_a_terminal(&broker, script) else { return };
        assert!(!shown.contains('\u{1b}') && shown.contains("owned"), "{shown:?}");
    }
}

#[test]
fn an_error_of_a_service_cannot_forge_a_second_line_or_a_colour() {
    let broker = Broker::start();
    let script = r"printf 'no\nipcctl: other: ok\033[2J' >&2; exit 1";
    let _service = broker.serve("evil", &["evil", "--", "sh", "-c", script]);
    let finished = broker.ipcctl(["send", "evil"]).run();
    let line = finished.refused(1);
    assert!(!line.contains('\u{1b}') && line.starts_with("ipcctl: evil: app_error: "), "{line}");
}

// ---- exit codes and error lines

#[test]
fn help_errors_shows_the_whole_table() {
    let shown = Command::ipcctl(["help", "errors"]).prints_text();
    for row in ERROR_TABLE {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(row.name));
        let line = line.unwrap_or_else(|| panic!("{} is not in the table", row.name));
        let exit = row.code.exit().to_string().replace("130", "128+signal");
        assert_eq!(line.split_whitespace().nth(1), Some(&*exit), "{line}");
    }
}

#[test]
fn an_error_line_in_json_has_the_same_facts() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["-o", "json", "send", "nobody"]).run();
    assert_eq!((finished.code, finished.stdout.len()), (68, 0));
    let line: serde_json::Value = serde_json::from_str(&finished.stderr).unwrap();
    let facts = ["error", "exit", "retry", "target"].map(|name| line[name].to_string());
    assert_eq!(facts, [r#""no_service""#, "68", r#""safe""#, r#""nobody""#]);
}

#[test]
fn quiet_prints_nothing_and_keeps_the_exit_code() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["-q", "send", "nobody"]).run();
    assert_eq!((finished.code, finished.stderr.as_str(), finished.stdout.len()), (68, "", 0));
}

#[test]
fn options_of_all_verbs_may_precede_or_follow_the_verb() {
    let broker = Broker::start();
    let socket = broker.socket().to_str().unwrap();
    for arguments in [["-s", socket, "list"], ["list", "-s", socket], ["list", "--socket", socket]] {
        assert_eq!(Command::ipcctl(arguments).prints_text(), "");
    }
}

#[test]
fn a_handlers_exit_code_decides_its_callers_error() {
    let broker = Broker::start();
    let _service = broker.serve("exit", &["exit", "--", "sh", "-c", "exit $(cat)"]);
    let code = |number: &str| broker.ipcctl(["send", "exit", number]).run().code;
    assert_eq!(["0", "1", "63", "65", "67", "75", "77", "64", "127"].map(code), [0, 1, 1, 65, 67, 75, 77, 70, 70]);
    assert_eq!(broker.ipcctl(["send", "--propagate", "exit", "63"]).run().code, 63);
    assert_eq!(broker.ipcctl(["send", "--propagate", "exit", "75"]).run().code, 75);
}

#[test]
fn a_handler_that_exceeds_its_services_timeout_is_ended() {
    let broker = Broker::start();
    let _service = broker.serve("slow", &["slow", "--timeout", "200ms", "--", "sleep", "974"]);
    let finished = broker.ipcctl(["send", "slow"]).run();
    assert_eq!(finished.code, 124, "{}", finished.stderr);
}

#[test]
fn a_handler_receives_the_facts_of_its_call() {
    let broker = Broker::start();
    let script = r#"echo "$IPC_SERVICE|$IPC_METHOD|$IPC_ENCODING|$TRACEPARENT|$((IPC_DEADLINE_MS <= 5000))""#;
    let _service = broker.serve("told", &["told", "--", "sh", "-c", script]);
    let mut caller = Peer::connect(&broker);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let routing = Routing::to("told.it", "").put(FieldTag::TRACE, trace.as_bytes()).build();
    let call =
        Call { routing, timeout_ms: 5_000, encoding: Encoding::JSON, ..ipc_tests::peer::call(1, "told.it", "{}") };
    caller.send(&Message::Call(call));
    assert_eq!(caller.reply().1, format!("told|it|json|{trace}|1\n"));
}

#[test]
fn run_takes_a_configuration_for_its_broker() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("ipcd.toml");
    fs::write(&config, "[limits]\nbacklog = 23\n").unwrap();
    let config = config.to_str().unwrap();
    let shown = Command::ipcctl(["run", "-f", config, "--", "sh", "-c", "ipcctl limits | grep backlog"]).prints_text();
    assert_eq!(shown.split_whitespace().nth(1), Some("23"));
    fs::write(config, "[limits]\nbacklock = 23\n").unwrap();
    assert!(Command::ipcctl(["run", "-f", config, "--", "true"]).run().refused(78).contains("ipcd.toml:2:"));
}

#[test]
fn a_missing_command_cannot_be_served() {
    let broker = Broker::start();
    assert_eq!(broker.ipcctl(["serve", "x", "--", "/no/such/program"]).run().code, 127);
    assert_eq!(broker.ipcctl(["serve", "x", "--", "/etc/passwd"]).run().code, 126);
}

// ---- odd arguments

#[test]
fn a_missing_file_exits_66_and_is_named() {
    let (broker, _service) = upper();
    assert!(broker.ipcctl(["send", "upper", "@no-such-file"]).run().refused(66).contains("no-such-file"));
    assert!(broker.ipcctl(["send", "upper", "key@no-such-file"]).run().refused(66).contains("no-such-file"));
    broker.ipcctl(["send", "upper", "@/"]).run().refused(66);
}

#[test]
fn no_argument_and_an_empty_one_are_an_empty_body() {
    let broker = Broker::start();
    let _service = broker.serve("count", &["count", "--", "wc", "-c"]);
    assert_eq!(broker.ipcctl(["send", "count"]).prints_text().trim(), "0");
    assert_eq!(broker.ipcctl(["send", "count", ""]).prints_text().trim(), "0");
}

#[test]
fn members_build_one_json_object() {
    let broker = Broker::start();
    broker.file("text", "from a \"file\"\n");
    let _service = broker.serve("echo", &["echo", "--", "cat"]);
    let sent = broker.ipcctl(["send", "echo", "name=it's", "n:=1.50", "list:=[1, 2]", "file@text", "empty="]);
    let body: serde_json::Value = serde_json::from_slice(&sent.prints()).unwrap();
    let expected =
        serde_json::json!({ "name": "it's", "n": 1.5, "list": [1, 2], "file": "from a \"file\"\n", "empty": "" });
    assert_eq!(body, expected);
}

#[test]
fn members_that_do_not_make_an_object_are_refused_and_named() {
    let broker = Broker::start();
    let code = |arguments: &[&str]| {
        let finished = broker.ipcctl([&["send", "x"], arguments].concat()).run();
        (finished.code, finished.stderr.lines().count())
    };
    assert_eq!(code(&["a:=nonsense"]), (2, 1));
    assert_eq!(code(&["a=1", "a=2"]), (2, 1));
    assert_eq!(code(&["a=1", "and this"]), (2, 1));
    assert_eq!(code(&["two", "words"]), (2, 1));
}

#[test]
fn a_file_that_is_not_named_is_a_usage_error() {
    let line = Command::ipcctl(["send", "x", "body@"]).socket("/nowhere").run().refused(2).to_owned();
    assert!(line.contains("'body@' names no file"), "{line}");
}

#[test]
fn a_malformed_name_is_a_usage_error() {
    for name in ["", ".", "a..b", "A", "a b", "$(id)", "a/b", "ü", "@", "@x", &"x".repeat(300)] {
        Command::ipcctl(["send", "--", name]).socket("/nowhere").run().refused(2);
    }
}

// ---- addresses

#[test]
fn a_path_without_a_broker_is_named_with_its_fault() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let missing = directory.path().join("missing");
    for (path, trouble) in
        [(&file, "no broker listens"), (&dead, "no broker listens"), (&missing, "there is no broker")]
    {
        let finished = Command::ipcctl(["list"]).socket(path).run();
        let line = finished.refused(69);
        assert!(line.contains(path.to_str().unwrap()) && line.contains(trouble), "{line}");
        assert!(!line.contains("os error"), "{line}");
    }
}

#[test]
fn a_socket_without_permission_exits_77_and_says_so() {
    if !is_root() {
        return;
    }
    let broker = Broker::start();
    fs::set_permissions(broker.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let finished = broker.ipcctl(["list"]).user(STRANGER).run();
    let line = finished.refused(77);
    assert!(line.contains(broker.socket().to_str().unwrap()) && line.contains("keeps this user out"), "{line}");
}

#[test]
fn a_strangers_broker_is_not_trusted_unless_named() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = directory.path().join("ipcd/ipcd.sock");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    std::os::unix::fs::chown(socket.parent().unwrap(), Some(STRANGER), None).unwrap();
    let impostor = Command::new(&Programs::get().ipcd, ["--socket", socket.to_str().unwrap()]).user(STRANGER).start();
    impostor.expect_output("ipcd: ready on ");
    let victim = |command: Command| command.user(STRANGER + 1).env("HOME", "/");
    let found = victim(Command::ipcctl(["ping"]).env("XDG_RUNTIME_DIR", directory.path())).run();
    assert!(found.refused(77).contains("impostor"), "{}", found.stderr);
    let asked_for = victim(Command::ipcctl(["ping"]).socket(&socket)).run();
    assert!(!asked_for.stderr.contains("impostor"), "{}", asked_for.stderr);
}

#[test]
fn a_malformed_address_is_a_usage_error() {
    for address in ["@", "fd:", "fd:x", "fd:-1", &"x".repeat(200)] {
        Command::ipcctl(["-s", address, "list"]).run().refused(2);
    }
}

// ---- waiting

#[test]
fn send_with_wait_waits_for_service_and_broker() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = directory.path().join("ipcd.sock");
    let waiting = Command::ipcctl(["send", "--wait=20s", "upper.now", "hi"]).socket(&socket).start();
    let daemon = Command::new(&Programs::get().ipcd, ["--socket", socket.to_str().unwrap()]).start();
    daemon.expect_output("ipcd: ready on ");
    let _service = Command::ipcctl(["serve", "upper", "--", "tr", "a-z", "A-Z"]).socket(&socket).start();
    let finished = waiting.finish();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "HI"), "{}", finished.stderr);
}

#[test]
fn send_with_wait_for_what_never_comes_exits_68() {
    let broker = Broker::start();
    let finished = broker.ipcctl(["send", "--wait=200ms", "never", "hi"]).run();
    assert!(finished.refused(68).contains("200ms"), "{}", finished.stderr);
    assert!(finished.took >= Duration::from_millis(200));
}

#[test]
fn wait_ends_when_the_name_is_offered_and_when_it_goes() {
    let broker = Broker::start();
    let coming = broker.ipcctl(["wait", "upper"]).start();
    let service = broker.serve("upper", &["upper", "--", "cat"]);
    assert_eq!(coming.finish().code, 0);
    let going = broker.ipcctl(["wait", "--gone", "upper"]).start();
    drop(service);
    assert_eq!(going.finish().code, 0);
    broker.ipcctl(["-t", "100ms", "wait", "upper"]).run().refused(124);
}

// ---- lists

#[test]
fn list_prints_one_name_per_line_and_takes_patterns() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    ["shop.stock", "shop.orders", "shop.orders.old", "other"].iter().for_each(|name| peer.register(name, 1));
    let list = |pattern: &[&str]| broker.ipcctl([&["list"], pattern].concat()).prints_text();
    assert_eq!(list(&[]), "other\nshop.orders\nshop.orders.old\nshop.stock\n");
    assert_eq!(list(&["shop."]), "shop.orders\nshop.orders.old\nshop.stock\n");
    assert_eq!(list(&["shop.*"]), "shop.orders\nshop.stock\n");
    assert_eq!(list(&["nothing."]), "");
}

#[test]
fn many_names_and_peers_are_listed_completely() {
    let broker = Broker::start();
    let mut peers: Vec<_> = (0..70).map(|_| Peer::connect(&broker)).collect();
    peers.iter_mut().enumerate().for_each(|(at, peer)| peer.register(&format!("n{at:03}"), 1));
    assert_eq!(broker.ipcctl(["list"]).prints_text().lines().count(), 70);
    assert_eq!(broker.ipcctl(["-o", "json", "peers"]).prints_text().lines().count(), 71);
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(Command::ipcctl(["completions", shell]).prints_text().contains("ipcctl complete -- "), "{shell}");
    }
}

#[test]
fn lines_stop_at_the_first_call_that_fails() {
    let broker = Broker::start();
    let script = r#"read -r line; [ "$line" = bad ] && { echo 'I do not like it' >&2; exit 4; }; echo "<$line>""#;
    let _service = broker.serve("picky", &["picky", "--", "sh", "-c", script]);
    let finished = broker.ipcctl(["send", "picky", "--lines", "-"]).input("good\nbad\nnever\n").run();
    assert_eq!((finished.code, finished.stdout().as_str()), (1, "<good>\n"));
    assert!(finished.stderr.contains("line 2") && finished.stderr.contains("I do not like it"), "{}", finished.stderr);
}

#[test]
fn a_service_that_receives_term_finishes_its_call_and_exits_0() {
    let broker = Broker::start();
    let service = broker
        .serve("slow", &["slow", "--", "sh", "-c", "touch begun; while [ ! -e go ]; do sleep 0.01; done; echo done"]);
    let caller = broker.ipcctl(["send", "slow"]).start();
    eventually(SOON, "a handler that has begun", || broker.directory().join("begun").exists());
    service.signal(nix::sys::signal::Signal::SIGTERM);
    broker.ipcctl(["wait", "--gone", "slow"]).prints();
    broker.file("go", "");
    assert_eq!(caller.finish().stdout(), "done\n");
    assert_eq!(service.finish().code, 0);
}
