use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::*;

const SOON: Duration = Duration::from_secs(10);

struct Bells {
    cancel: Bell,
    quit: Bell,
}

impl Bells {
    fn new() -> Self {
        Self { cancel: Bell::new().unwrap(), quit: Bell::new().unwrap() }
    }

    fn bounds(&self, time: Duration) -> Bounds<'_> {
        Bounds { cancel: &self.cancel, quit: &self.quit, until: Some(Instant::now() + time) }
    }
}

fn shell(script: &str) -> Recipe {
    shell_with(script, "sh")
}

fn shell_with(script: &str, name: impl AsRef<std::ffi::OsStr>) -> Recipe {
    Recipe::new("/bin/sh", vec!["sh".into(), "-c".into(), script.into(), name.as_ref().to_owned()])
}

fn run(script: &str, body: &[u8]) -> Finished {
    Job::start(shell(script), body, &Guard::absent(), Log::Drop).unwrap().finish(&Bells::new().bounds(SOON)).unwrap()
}

/// Whether the process whose number a script wrote is gone, or soon is: a KILL takes effect in its own time.
fn is_gone(number: &[u8]) -> bool {
    let number = std::str::from_utf8(number).unwrap().trim().parse().unwrap();
    let Ok(process) = pidfd_open(Pid::from_raw(number).unwrap(), PidfdFlags::empty()) else { return true };
    ready([(Some(&process), Interest::Read)], Some(Instant::now() + SOON)).unwrap() == [true]
}

#[test]
fn the_body_goes_in_and_the_reply_comes_out() {
    let finished = run("tr a-z A-Z", b"hello");
    assert_eq!((finished.reply.as_slice(), finished.stop), (&b"HELLO"[..], None));
    assert!(finished.status.success());
}

#[test]
fn a_large_body_and_a_large_reply_pass_each_other() {
    let body: Vec<u8> = (0..MAX_BODY).map(|n| n.to_le_bytes()[0]).collect();
    assert_eq!(run("cat", &body).reply, body);
}

#[test]
fn a_command_need_not_read() {
    let finished = run("echo done", &vec![b'x'; MAX_BODY as usize]);
    assert_eq!(finished.reply, b"done\n");
}

#[test]
fn what_it_complains_about_is_kept() {
    let finished = run("echo one >&2; echo two >&2; exit 3", b"");
    assert_eq!((finished.status.code(), finished.complaint.as_str()), (Some(3), "one\ntwo"));
}

#[test]
fn a_reply_over_the_limit_ends_it() {
    let finished = run("cat /dev/zero", b"");
    assert_eq!(finished.stop, Some(Stop::TooMuch));
}

#[test]
fn a_reply_over_the_limit_is_noticed_when_the_command_has_ended() {
    let finished = run(&format!("head -c {} /dev/zero", MAX_BODY + 1), b"");
    assert_eq!(finished.stop, Some(Stop::TooMuch));
    assert_eq!(run(&format!("head -c {MAX_BODY} /dev/zero"), b"").stop, None);
}

#[test]
fn what_a_filter_writes_after_the_end_of_the_command_is_kept() {
    let script = "exec 3>&1; mkfifo \"$0\"; { sleep 0.1; tr a-z A-Z; } <\"$0\" >&3 & exec 3>&- >\"$0\"; cat";
    let directory = tempfile::tempdir().unwrap();
    let job = Job::start(shell_with(script, directory.path().join("f")), b"late", &Guard::absent(), Log::Drop).unwrap();
    assert_eq!(job.finish(&Bells::new().bounds(SOON)).unwrap().reply, b"LATE");
}

#[test]
fn a_cancel_ends_the_wait_for_a_filter() {
    let bells = Bells::new();
    bells.cancel.ring();
    let job = Job::start(shell("sleep 60 & exit 0"), b"", &Guard::absent(), Log::Drop).unwrap();
    let started = Instant::now();
    job.finish(&bells.bounds(SOON)).unwrap();
    assert!(started.elapsed() < SOON);
}

#[test]
fn a_grandchild_that_holds_the_pipes_open_delays_the_reply_a_little_and_dies() {
    let started = Instant::now();
    let finished = run("sleep 60 & echo $!", b"");
    assert!(started.elapsed() < SOON);
    assert_eq!(finished.stop, None);
    assert!(is_gone(&finished.reply));
}

#[test]
fn a_cancel_ends_the_whole_group() {
    let bells = Bells::new();
    bells.cancel.ring();
    let started = Instant::now();
    let job = Job::start(shell("sleep 60 & sleep 60"), b"", &Guard::absent(), Log::Drop).unwrap();
    let finished = job.finish(&bells.bounds(SOON)).unwrap();
    assert_eq!(finished.stop, Some(Stop::Cancelled));
    assert!(started.elapsed() < GRACE);
}

#[test]
fn who_ignores_term_is_killed() {
    let started = Instant::now();
    let job = Job::start(shell("trap '' TERM; while :; do sleep 1; done"), b"", &Guard::absent(), Log::Drop).unwrap();
    let finished = job.finish(&Bells::new().bounds(Duration::from_millis(100))).unwrap();
    assert_eq!(finished.stop, Some(Stop::OutOfTime));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_leader_that_dies_first_leaves_nobody_behind() {
    let script = "sh -c 'trap \"\" TERM; exec >/dev/null; while :; do sleep 1; done' & echo $! >\"$0\"; wait";
    let file = tempfile::NamedTempFile::new().unwrap();
    let job = Job::start(shell_with(script, file.path()), b"", &Guard::absent(), Log::Drop).unwrap();
    job.finish(&Bells::new().bounds(Duration::from_millis(200))).unwrap();
    let pid = std::fs::read(file.path()).unwrap();
    assert!(is_gone(&pid));
}

#[test]
fn the_end_of_the_service_ends_it() {
    let bells = Bells::new();
    bells.quit.ring();
    let finished =
        Job::start(shell("sleep 60"), b"", &Guard::absent(), Log::Drop).unwrap().finish(&bells.bounds(SOON)).unwrap();
    assert_eq!(finished.stop, Some(Stop::Quit));
}

#[test]
fn a_command_that_cannot_start_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Recipe::new(directory.path().join("missing"), vec![]);
    assert!(Job::start(missing, b"", &Guard::absent(), Log::Drop).is_err());
}
