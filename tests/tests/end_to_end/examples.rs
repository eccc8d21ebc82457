//! The client library's examples, as their users run them: a program at each end.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use ipc_tests::{
    broker::{Broker, is_soak},
    command::Running,
    eventually::{SOON, eventually},
    programs::Programs,
};
use nix::sys::signal::Signal;

use crate::{
    events_shell::{subscribe, subscribed},
    scenarios::instances,
    scenarios_events::{GROWTH_KIB, growth},
};

/// Starts an example that offers a name, and waits for that.
fn serve(broker: &Broker, example: &str, arguments: &[&str], name: &str) -> Running {
    let service = broker.example(example, arguments).start();
    broker.wait_for(name);
    service
}

// ---- S9: a chat

#[test]
fn s09_two_people_talk_over_one_call_until_the_caller_ends_it() {
    let broker = Broker::start();
    let mut waiting = broker.example("chat", &["wait"]).interactive().start();
    broker.wait_for("chat");
    let mut calling = broker.example("chat", &["call"]).interactive().start();
    calling.write(b"hello\n");
    waiting.expect_output("hello\n");
    waiting.write(b"hello to you\n");
    calling.expect_output("hello to you\n");
    calling.write(b"good bye\n");
    calling.end_input();
    let (calling, waiting) = (calling.finish(), waiting.finish());
    assert_eq!((calling.code, calling.stdout().as_str()), (0, "hello to you\n"), "{}", calling.stderr);
    assert_eq!((waiting.code, waiting.stdout().as_str()), (0, "hello\ngood bye\n"), "{}", waiting.stderr);
}

#[test]
fn s09_a_third_party_is_told_busy_and_the_one_who_was_called_ends_the_chat() {
    let broker = Broker::start();
    let mut waiting = broker.example("chat", &["wait"]).interactive().start();
    broker.wait_for("chat");
    let mut calling = broker.example("chat", &["call"]).interactive().start();
    calling.write(b"hello\n");
    waiting.expect_output("hello\n");
    let third = broker.example("chat", &["call"]).interactive().run();
    assert!(third.code == 1 && third.stderr.contains("two talk already"), "{} {}", third.code, third.stderr);
    waiting.write(b"good bye\n");
    waiting.end_input();
    let (calling, waiting) = (calling.finish(), waiting.finish());
    assert_eq!((calling.code, calling.stdout().as_str()), (0, "good bye\n"), "{}", calling.stderr);
    assert_eq!((waiting.code, waiting.stdout().as_str()), (0, "hello\n"), "{}", waiting.stderr);
}

// ---- S17: a store of files

#[test]
fn s17_a_file_goes_up_and_down_as_a_stream_and_the_broker_stays_as_it_is() {
    let mut broker = Broker::in_process("");
    let len = if is_soak() { 1 << 30 } else { 32 << 20 };
    let kept = broker.directory().join("kept");
    fs::create_dir(&kept).unwrap();
    let _store = serve(&broker, "store", &["serve", "kept"], "store");
    broker.shell(&format!("head -c {len} /dev/urandom >file")).prints();
    let file = broker.directory().join("file");
    let grown = growth(&mut broker, |broker| {
        let put = broker.example("store", &["put", "copy"]).input_descriptor(fs::File::open(&file).unwrap());
        assert_eq!(put.prints_text(), "");
        assert_eq!(fs::metadata(kept.join("copy")).unwrap().len(), len);
        let get = broker.shell("exec \"$STORE\" get copy >back").env("STORE", Programs::get().example("store"));
        assert_eq!(get.prints_text(), "");
    });
    broker.shell("cmp file kept/copy && cmp file back").prints();
    assert!(grown < GROWTH_KIB, "{grown} KiB");
}

#[test]
fn s17_an_upload_that_is_cut_short_leaves_no_file_and_a_name_stays_in_the_directory() {
    let broker = Broker::start();
    let kept = broker.directory().join("kept");
    fs::create_dir(&kept).unwrap();
    let files = || fs::read_dir(&kept).unwrap().count();
    let _store = serve(&broker, "store", &["serve", "kept"], "store");
    let mut put = broker.example("store", &["put", "copy"]).interactive().start();
    put.write(b"the first part");
    eventually(SOON, "a file that is being written", || files() == 1);
    put.signal(Signal::SIGKILL);
    eventually(SOON, "no file", || files() == 0);
    for name in ["../copy", ".copy", ""] {
        let refused = broker.example("store", &["put", name]).input("x").run();
        assert!(refused.code == 1 && refused.stderr.contains("plain name"), "{name}: {}", refused.stderr);
    }
    assert_eq!(files(), 0);
}

// ---- S18: a sensor

#[test]
fn s18_who_watches_late_sees_the_last_reading_of_each_room_and_then_each_change() {
    let broker = Broker::start();
    let report = |room: &str, readings: &str| broker.example("sensor", &["report", room]).input(readings).prints();
    report("kitchen", "20\n21.5\n");
    report("hall", "18\n");
    let late = subscribed(&broker, broker.example("sensor", &["watch"]));
    late.expect_output("home.kitchen.temperature 21.5\n");
    late.expect_output("home.hall.temperature 18.0\n");
    report("kitchen", "22\n");
    let output = late.expect_output("home.kitchen.temperature 22.0\n");
    assert_eq!(output.lines().count(), 3, "{output}");
    let shell = broker.ipcctl(["subscribe", "home.hall.", "--last", "-n", "1"]).prints_text();
    assert_eq!(shell, "{\"celsius\":18.0}\n");
}

// ---- S18: a follower of logs

#[test]
fn s18_each_line_of_a_log_reaches_all_who_follow_it_in_order() {
    let broker = Broker::start();
    let (app, web) = (broker.file("App.log", ""), broker.file("web.log", "an old line\n"));
    let readers: Vec<Running> = (0..5).map(|_| subscribe(&broker, &["log."])).collect();
    let only_app = subscribe(&broker, &["log.app"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples").join("follow.sh");
    let follower = broker.shell("exec \"$SCRIPT\" App.log web.log").env("SCRIPT", script).start();
    let write = |path: &Path, line: &str| writeln!(OpenOptions::new().append(true).open(path).unwrap(), "{line}");
    for (path, start) in [(&app, "app begins"), (&web, "web begins")] {
        // Lines before the follower looks are not told.
        eventually(SOON, "a line that is told", || {
            write(path, start).unwrap();
            readers.iter().all(|reader| reader.output_so_far().contains(start))
        });
    }

    (0..100).for_each(|number| write(&app, &format!("line {number}")).unwrap());

    let is_numbered = |line: &&str| line.starts_with("line ");
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    for reader in readers.iter().chain([&only_app]) {
        let told = reader.expect_output("line 99\n");
        assert_eq!(told.lines().filter(is_numbered).collect::<Vec<_>>(), lines);
        assert!(!told.contains("an old line"));
    }
    assert!(!only_app.output_so_far().contains("web"));
    follower.signal(Signal::SIGTERM);
    assert_eq!(follower.finish().code, 143);
    eventually(SOON, "no publisher", || broker.peers().iter().all(|peer| !peer.agent.contains("publish")));
}

// ---- S23: a queue of work

#[test]
fn s23_workers_share_the_jobs_and_one_that_fails_is_told_as_dead() {
    let broker = Broker::with_config("[limits]\ncalls_per_service = 2\n");
    let script = "[ $1 != bad ] || exit 3; until [ -e go ]; do sleep 0.01; done; echo $PPID";
    let work = || broker.example("queue", &["work", "sh", "-c", script, "sh"]).start();
    let workers = [work(), work()];
    broker.wait_for("jobs");
    eventually(SOON, "two workers", || instances(&broker, "jobs") == 2);
    let dead = subscribed(&broker, broker.example("queue", &["dead"]));
    let puts = ["one", "two", "three"].map(|job| broker.example("queue", &["put", job]).start());
    eventually(SOON, "a job that is put again", || broker.stat("errors_busy") > 0);
    broker.file("go", "");
    let printed = puts.map(|put| put.finish().stdout());
    let worker = |line: &str| line.rsplit(' ').next().unwrap().trim().parse::<u32>().unwrap();
    assert!(printed.iter().all(|line| workers.iter().any(|one| one.pid() == worker(line))), "{printed:?}");
    let failed = broker.example("queue", &["put", "bad", "four"]).run();
    assert_eq!(failed.code, 0, "{}", failed.stderr);
    assert!(failed.stdout().starts_with("bad: dead, ") && failed.stdout().contains("\nfour: "), "{}", failed.stdout());
    assert_eq!(dead.expect_output("\n"), "bad\n");
}

// ---- async programs

#[test]
fn in_a_room_each_reads_the_lines_of_the_others() {
    let broker = Broker::start();
    let mut ann = subscribed(&broker, broker.example("async_chat", &["ann"]).interactive());
    let mut bob = subscribed(&broker, broker.example("async_chat", &["bob"]).interactive());
    ann.write(b"hello\n");
    bob.expect_output("ann: hello\n");
    bob.write(b"hello to you\n");
    ann.expect_output("bob: hello to you\n");
    ann.end_input();
    let ann = ann.finish();
    assert_eq!((ann.code, ann.stdout().as_str()), (0, "bob: hello to you\n"), "{}", ann.stderr);
    bob.end_input();
    assert_eq!(bob.finish().code, 0);
}

#[test]
fn of_several_services_the_first_answers_and_the_commands_of_the_others_are_ended() {
    let broker = Broker::start();
    let _first = serve(&broker, "async_first", &[], "first");
    let _up = broker.ipcctl(["serve", "up", "--", "tr", "a-z", "A-Z"]).start();
    let _slow = broker
        .ipcctl(["serve", "slow", "--", "sh", "-c", "echo $$ >pid.new; mv pid.new pid; sleep 1000 & wait"])
        .start();
    broker.wait_for("up");
    broker.wait_for("slow");
    let group = broker.directory().join("pid");
    let send = |services: &str| broker.ipcctl(["send", "first.ask", services, "text=hello"]);
    // Alone the slow one keeps its caller waiting, until that goes away: a future is dropped, and with it the call, and the command.
    let waiting = send("services:=[\"slow\"]").start();
    eventually(SOON, "a command that runs", || group.exists());
    let pid = fs::read_to_string(&group).unwrap().trim().parse::<i32>().unwrap();
    let lives = || nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), None).is_ok();
    assert!(lives());
    waiting.signal(Signal::SIGINT);
    let asked = std::time::Instant::now();
    eventually(SOON, "an ended group of processes", || !lives());
    assert!(asked.elapsed() < std::time::Duration::from_secs(if is_soak() { 1 } else { 5 }), "{:?}", asked.elapsed());
    fs::remove_file(&group).unwrap();
    // Beside a faster one it is ended, because the future that calls it is dropped with the others.
    assert_eq!(send("services:=[\"slow\",\"up\"]").prints_text(), "\"HELLO\"\n");
    eventually(SOON, "an ended group of processes", || {
        !fs::read_to_string(&group).is_ok_and(|pid| {
            let pid = pid.trim().parse::<i32>().unwrap();
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), None).is_ok()
        })
    });
}

// ---- a collector of metrics

#[test]
fn a_collector_adds_up_what_programs_and_shells_publish() {
    let broker = Broker::start();
    let _collector = serve(&broker, "metrics", &["collect"], "metrics");
    broker.example("metrics", &["count", "requests", "3"]).prints();
    broker.example("metrics", &["count", "errors", "1"]).prints();
    broker.ipcctl(["publish", "metrics.counted", "name=requests", "by:=4"]).prints();
    eventually(SOON, "the sums", || broker.example("metrics", &["totals"]).prints_text() == "errors 1\nrequests 7\n");
    assert_eq!(broker.ipcctl(["send", "metrics.totals"]).prints_text(), "{\"errors\":1,\"requests\":7}\n");
}
