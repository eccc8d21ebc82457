//! What `ipcctl` says about itself: help, manual pages, completions.

use ipc_tests::{
    broker::{Broker, skip},
    command::Command,
    peer::Peer,
};

const VERBS: [&str; 20] = [
    "send",
    "serve",
    "publish",
    "subscribe",
    "run",
    "chat",
    "rpc",
    "lock",
    "mcp",
    "wait",
    "list",
    "show",
    "topics",
    "peers",
    "stats",
    "limits",
    "ping",
    "bench",
    "completions",
    "help",
];

// ---- help

/// The examples at the end of a verb's help, without their comments.
fn examples(verb: &str) -> Vec<String> {
    let help = Command::ipcctl([verb, "--help"]).prints_text();
    let (_, examples) = help.rsplit_once("Example").expect("examples stand at the end");
    let lines = examples.lines().filter_map(|line| line.strip_prefix("  "));
    lines.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn self_contained_examples_work() {
    let broker = Broker::start();
    let examples: Vec<_> =
        ["run", "list", "topics", "stats", "limits", "ping", "help", "man", "complete"].map(examples).concat();
    assert!(examples.len() >= 8, "{examples:?}");
    for example in examples {
        let finished = broker.shell(&example).run();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{example}");
    }
}

#[test]
fn the_examples_of_send_and_wait_work_with_their_services() {
    let broker = Broker::start();
    broker.file("photo.jpg", "a photo");
    let mut shop = Peer::connect(&broker);
    ["shop.orders", "shop.stock"].iter().for_each(|name| shop.register(name, 1));
    let _services = ["calc.add", "upper", "store"].map(|name| broker.serve(name, &[name, "--", "cat"]));
    let example = |verb: &str, at: usize| broker.shell(&examples(verb)[at]).prints_text();
    assert_eq!(example("send", 0), "{\"a\":1,\"b\":2}\n");
    assert_eq!(example("send", 1), "hello\n");
    assert_eq!(example("send", 2), "");
    assert_eq!(example("send", 3), "a\nb\n");
    assert_eq!(example("wait", 0), "the broker is up\n");
    assert_eq!(example("wait", 1), "open\n");
    assert!(example("show", 1).contains("calc.add"));
}

#[test]
fn the_examples_of_publish_subscribe_and_streams_work() {
    let broker = Broker::start();
    broker.file("disk.img", "an image");
    let _store = broker.serve("store.put", &["store.put", "--stream", "--", "cat"]);
    let example = |verb: &str, at: usize| broker.shell(&examples(verb)[at]).prints_text();
    assert_eq!((example("publish", 0), example("publish", 1)), (String::new(), String::new()));
    assert_eq!(example("subscribe", 1), "{\"celsius\":21.5}\n");
    assert!(example("topics", 1).contains("home.kitchen.temperature"));
    assert_eq!(example("publish", 2), "");
    assert_eq!(example("topics", 1), "");
    assert_eq!(example("send", 4), "an image");
}

#[test]
fn bench_prints_what_it_measured() {
    let broker = Broker::start();
    let report = broker.ipcctl(["-o", "json", "bench", "--seconds", "1", "--window", "4"]).prints_text();
    let report: serde_json::Value = serde_json::from_str(&report).expect("one JSON document");
    assert_eq!((&report["window"], &report["size"]), (&4.into(), &64.into()));
    assert!(report["count"].as_u64() > Some(0) && report["p99_us"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn bench_measures_events_and_streams_too() {
    let broker = Broker::start();
    let measure = |arguments: &[&str]| -> serde_json::Value {
        let report = broker.ipcctl([&["-o", "json", "bench", "--seconds", "1"], arguments].concat()).prints_text();
        serde_json::from_str(&report).expect("one JSON document")
    };
    let events = measure(&["events", "--subscribers", "3", "--window", "4"]);
    assert_eq!((&events["subscribers"], &events["window"], &events["size"]), (&3.into(), &4.into(), &64.into()));
    assert_eq!(events["count"].as_u64(), events["events"].as_u64().map(|events| 3 * events), "{events}");
    assert!(events["p99_us"].as_f64() >= events["p50_us"].as_f64() && events["p50_us"].as_f64() > Some(0.0));
    let stream = measure(&["stream", "--size", "4096"]);
    assert!(stream["count"].as_u64() > Some(0) && stream["megabytes_per_second"].as_f64() > Some(0.0), "{stream}");
    for meaningless in [&["stream", "--window", "2"][..], &["--subscribers", "2"], &["events", "--size", "7"]] {
        broker.ipcctl([&["bench"], meaningless].concat()).run().refused(2);
    }
}

#[test]
fn help_explains_each_counter() {
    let broker = Broker::start();
    let stats = broker.ipcctl(["stats"]).prints_text();
    let help = Command::ipcctl(["stats", "--help"]).prints_text();
    let explained: Vec<_> = help.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let names = stats.lines().filter_map(|line| line.split_whitespace().next());
    let missing: Vec<_> = names.filter(|name| !name.starts_with("errors_") && !explained.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn bench_names_itself_when_there_is_no_broker() {
    let finished = Command::ipcctl(["-s", "/nonexistent/ipcd.sock", "bench"]).run();
    assert!(finished.refused(69).starts_with("ipcctl: bench: "), "{}", finished.stderr);
}

// ---- manual pages

#[test]
fn the_manual_page_of_each_verb_has_all_sections() {
    let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"];
    for verb in VERBS {
        let page = Command::ipcctl(["man", verb]).prints_text();
        let missing: Vec<_> = sections.iter().filter(|section| !page.contains(&format!("\n.SH {section}\n"))).collect();
        assert!(missing.is_empty(), "{verb}: {missing:?}");
        let sentence = page.lines().find(|line| line.starts_with(".SH ") && line.len() > 40);
        assert_eq!(sentence, None, "{verb}: a sentence as a heading");
        assert!(page.contains(".SH EXAMPLE"), "{verb}: no example");
        assert!(page.contains("ipcctl(1)") && page.contains("ipcd(8)"), "{verb}: nothing to see also");
    }
}

#[test]
fn the_main_manual_page_names_every_verb() {
    let page = Command::ipcctl(["man"]).prints_text();
    for verb in VERBS {
        assert!(page.contains(&format!("ipcctl\\-{verb}\\fR(1)")), "{verb}");
    }
}

#[test]
fn tables_of_a_manual_page_are_not_filled() {
    let page = Command::ipcctl(["man", "send"]).prints_text();
    let table = page.split(".SH EXIT STATUS").nth(1).expect("the section");
    let table = table.split(".nf\n").nth(1).and_then(|rest| rest.split(".fi\n").next()).expect("lines as they are");
    assert!(table.lines().count() > 15, "{table}");
}

// ---- completions

/// The completions that bash offers at the end of a command line.
fn offered(broker: &Broker, line: &str) -> Vec<String> {
    let script = r#"eval "$(ipcctl completions bash)"; COMP_LINE=$1; COMP_POINT=${#1}; _ipcctl; printf '%s\n' "${COMPREPLY[@]}""#;
    let bash = Command::new("bash", ["-c", script, "bash", line]);
    let printed = bash.socket(broker.socket()).directory(broker.directory()).prints_text();
    printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_offers_the_names_at_the_broker() {
    let broker = Broker::start();
    let mut peer = Peer::connect(&broker);
    ["shop.stock", "shop.orders", "other"].iter().for_each(|name| peer.register(name, 1));
    assert_eq!(offered(&broker, "ipcctl send sh"), ["shop.orders", "shop.stock"]);
    assert_eq!(offered(&broker, "ipcctl send -t 5s --wait o"), ["other"]);
    assert_eq!(offered(&broker, "ipcctl wait other shop.s"), ["shop.stock"]);
    assert_eq!(offered(&broker, "ipcctl show ").len(), 3);
}

#[test]
fn bash_offers_verbs_options_commands_and_files() {
    let broker = Broker::start();
    broker.file("photo.jpg", "");
    assert_eq!(offered(&broker, "ipcctl help comp"), ["completions"]);
    assert_eq!(offered(&broker, "ipcctl send --onew"), ["--oneway"]);
    assert_eq!(offered(&broker, "ipcctl list --output=js"), ["json"], "after the = that ends a word for readline");
    assert!(offered(&broker, "ipcctl serve upper -- slee").contains(&"sleep".to_owned()));
    assert_eq!(offered(&broker, "ipcctl send store @pho"), ["photo.jpg"]);
    assert_eq!(offered(&broker, "ipcctl send store name@pho"), ["photo.jpg"]);
}

#[test]
fn bash_takes_what_is_offered_as_it_is() {
    let broker = Broker::start();
    ["a1", "a2"].iter().for_each(|name| drop(broker.file(name, "")));
    let answers = r#"printf '%s\n' 'a*' 'b c' '$(touch pwned)'"#;
    let script = r#"eval "$(ipcctl completions bash)"; answers=$1; ipcctl() { eval "$answers"; }
        COMP_LINE='ipcctl send '; COMP_POINT=12; _ipcctl; printf '%s\n' "${COMPREPLY[@]}""#;
    let bash = Command::new("bash", ["-c", script, "bash", answers]);
    assert_eq!(bash.directory(broker.directory()).prints_text(), "a*\nb c\n$(touch pwned)\n");
}

#[test]
fn fish_offers_the_same_as_bash() {
    let broker = Broker::start();
    if broker.shell("command -v fish").run().code != 0 {
        skip("there is no fish");
        return;
    }
    let mut peer = Peer::connect(&broker);
    peer.register("shop.stock", 1);
    broker.file("photo.jpg", "");
    let script = "ipcctl completions fish | source; for line in $argv; complete -C $line; end";
    let lines = ["ipcctl send sh", "ipcctl send store @pho", "ipcctl list --output=js", "ipcctl send --onew"];
    let fish = Command::new("fish", [&["--no-config", "-c", script][..], &lines].concat());
    let offered = fish.socket(broker.socket()).directory(broker.directory()).prints_text();
    assert_eq!(offered, "shop.stock\n@photo.jpg\n--output=json\n--oneway\n");
}

#[test]
fn completion_without_a_broker_is_silent() {
    let asked = Command::ipcctl(["complete", "--", "send", "up"]).socket("/nowhere");
    assert_eq!(asked.prints_text(), "");
}
