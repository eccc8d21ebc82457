//! `ipcctl run`: what it starts, what it leaves alone, and how it ends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ipc_tests::{
    broker::{is_root, skip},
    command::{Command, process},
    eventually::{SOON, eventually, eventually_some},
    proc,
};
use nix::sys::signal::{Signal, kill};

/// A script of bash, which execs its last command, whose children the earlier jobs become. It has a directory of its own, also for
/// temporary files.
struct Script {
    place: tempfile::TempDir,
}

impl Script {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    fn command(&self, script: &str) -> Command {
        Command::new("bash", ["-c", script]).env("TMPDIR", self.temporary()).directory(self.place.path())
    }

    /// Where `run` creates its directory.
    fn temporary(&self) -> PathBuf {
        let path = self.place.path().join("tmp");
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.place.path().join(name)).unwrap_or_default()
    }

    #[track_caller]
    fn expect_in_file(&self, name: &str, text: &str) {
        eventually(SOON, &format!("{text:?} in {name}"), || self.file(name) == text);
    }

    /// Ends a command that reports its signals.
    fn go(&self) {
        fs::write(self.place.path().join("go"), "").unwrap();
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        entries(&self.temporary())
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).collect()
}

/// Processes whose ids a script wrote, one per line. They are killed at the end of the test.
struct Bystanders(Vec<u32>);

impl Bystanders {
    fn in_text(text: &str) -> Self {
        Self(text.lines().map(|line| line.parse().expect("a process id a line")).collect())
    }

    fn are_running(&self) -> bool {
        self.0.iter().all(|pid| proc::is_running(*pid))
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(process(*pid), Signal::SIGKILL);
        }
    }
}

// ---- whose processes they are

#[test]
fn jobs_that_the_shell_started_before_are_left_alone() {
    let script = Script::new();
    let finished = script.command("sleep 961 >/dev/null 2>&1 & echo $!; exec ipcctl run -- true").run();
    let job = Bystanders::in_text(&finished.stdout());
    assert_eq!((finished.code, job.0.len()), (0, 1), "{}", finished.stderr);
    assert!(job.are_running());
}

#[test]
fn orphans_of_an_earlier_job_are_left_alone() {
    let script = Script::new();
    // The job starts a process and ends while `run` is a subreaper.
    let job = "(until [ -e go ]; do sleep 0.01; done; sleep 962 >/dev/null 2>&1 & echo $! >orphan) >/dev/null 2>&1 &";
    let command = "touch go; until [ -s orphan ]; do sleep 0.01; done; sleep 0.1";
    let finished = script.command(&format!("{job} exec ipcctl run -- sh -c '{command}'")).run();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
    let orphan = Bystanders::in_text(&script.file("orphan"));
    assert!(orphan.0.len() == 1 && orphan.are_running());
}

#[test]
fn run_ends_its_own_orphans_beside_an_earlier_job() {
    let script = Script::new();
    let own = "setsid sleep 963 >/dev/null 2>&1 & echo $! >own";
    let finished =
        script.command(&format!("sleep 964 >/dev/null 2>&1 & echo $!; exec ipcctl run -- sh -c '{own}'")).run();
    let job = Bystanders::in_text(&finished.stdout());
    let own = Bystanders::in_text(&script.file("own"));
    assert!(job.are_running());
    assert!(own.0.len() == 1 && !own.are_running());
}

#[test]
fn a_filter_that_the_shell_put_behind_run_receives_everything() {
    let script = Script::new();
    assert_eq!(script.command("exec ipcctl run -- echo hello > >(sleep 0.3; cat >log)").run().code, 0);
    script.expect_in_file("log", "hello\n");
}

#[test]
fn a_filter_that_the_command_put_behind_itself_receives_everything() {
    let script = Script::new();
    let finished = script.command("ipcctl run -- bash -c 'exec > >(sleep 0.2; tee log); echo hello; exit 3'").run();
    assert_eq!((finished.code, finished.stdout().as_str()), (3, "hello\n"));
    assert_eq!(script.file("log"), "hello\n");
}

/// A shell puts a filter behind itself with fork(2), dup2(2) and execve(2), and may end before its child has come that far.
#[test]
fn a_filter_that_starts_late_gets_everything() {
    const LATE: &str = r#"pipe(R, W); if (!fork) { close W; select undef, undef, undef, 0.1; open STDIN, "<&R"; exec "cat" }
        close R; syswrite W, "hello\n"; exit 3"#;
    let script = Script::new();
    let finished = script.command(&format!("ipcctl run -- perl -e '{LATE}'")).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (3, "hello\n"));
}

#[test]
fn a_filter_receives_everything_though_a_service_holds_its_pipe_open() {
    let script = Script::new();
    let command = "exec > >(tee log); ipcctl serve x -- cat & ipcctl wait x; echo hello; exit 3";
    let finished = script.command(&format!("ipcctl run -- bash -c '{command}'")).run();
    assert_eq!((finished.code, finished.stdout().as_str()), (3, "hello\n"));
}

#[test]
fn a_filter_that_never_ends_does_not_delay_the_end() {
    let script = Script::new();
    let finished = script.command("ipcctl run -- bash -c 'exec > >(exec sleep 965); exit 3'").run();
    assert_eq!((finished.code, finished.stderr.as_str()), (3, ""));
    assert!(finished.took < SOON);
}

// ---- what it needs

#[test]
fn a_directory_for_temporary_files_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let finished = Command::ipcctl(["run", "--", "true"]).env("TMPDIR", &missing).run();
    let line = finished.refused(125);
    assert!(line.contains(&format!("in {}: No such file or directory ($TMPDIR ", missing.display())), "{line}");
}

// ---- exit codes

#[test]
fn the_exit_code_of_the_command_survives_a_directory_that_it_removed() {
    let script = Script::new();
    let finished = script.command("ipcctl run -- sh -c 'rm -rf \"$TMPDIR\"/*; exit 3'").run();
    assert_eq!((finished.code, finished.stderr.as_str()), (3, ""));
}

#[test]
fn a_failure_to_remove_the_directory_does_not_replace_the_exit_code() {
    if is_root() {
        // Even root cannot remove a directory that is a mount point.
        let script = Script::new();
        let command = "mount -t tmpfs none \"${IPCD_SOCKET%/*}\" && exit 3";
        let finished = script.command(&format!("unshare -m ipcctl run -- sh -c '{command}'")).run();
        if finished.stderr.contains("unshare") || finished.stderr.contains("mount:") {
            return skip("this user may not mount");
        }
        assert_eq!(finished.code, 3, "{}", finished.stderr);
        assert!(finished.stderr.contains("cannot remove"), "{}", finished.stderr);
    }
}

#[test]
fn a_command_runs_without_dev_null() {
    let script = Script::new();
    let finished = script.command("unshare -rm sh -c 'mount -t tmpfs none /dev && exec ipcctl run -- echo ran'").run();
    if finished.stderr.contains("unshare") || finished.stderr.contains("mount:") {
        return skip("this user may not mount");
    }
    assert_eq!((finished.code, finished.stdout().as_str(), finished.stderr.as_str()), (0, "ran\n", ""));
}

// ---- the command's surroundings

#[test]
fn the_command_keeps_its_limit_of_descriptors() {
    let script = Script::new();
    let told = script.command("ulimit -Sn 1024; exec ipcctl run -- sh -c 'ulimit -Sn'").prints_text();
    assert_eq!(told, "1024\n");
}

#[test]
fn the_examples_of_the_help_work() {
    let script = Script::new();
    let help = script.command("ipcctl run --help").prints_text();
    let (_, examples) = help.split_once("Examples:\n").expect("examples at the end");
    let examples: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let finished = script.command(example).run();
        assert_eq!((finished.code, finished.stderr.as_str()), (0, ""), "{example}");
    }
}

// ---- signals

/// A command that reports each signal it receives until a file `go` exists. Not a shell, which may take two signals in quick
/// succession for one.
const COUNTS: &str = r#"perl -e '$| = 1; $SIG{$_} = sub { print "$_[0]\n" } for ("TERM", "USR1");
    print "ready\n"; sleep 1 until -e "go"; exit 3'"#;

#[test]
fn a_signal_to_the_whole_group_reaches_the_command_once() {
    let script = Script::new();
    let running = script.command(&format!("exec ipcctl run -- {COUNTS}")).own_group().start();
    running.expect_output("ready");
    running.signal_group(Signal::SIGTERM);
    running.expect_output("TERM");
    // Once this signal has arrived, all earlier ones have.
    running.signal(Signal::SIGUSR1);
    running.expect_output("USR1");
    script.go();
    let finished = running.finish();
    assert_eq!((finished.code, finished.stdout().as_str()), (3, "ready\nTERM\nUSR1\n"));
}

#[test]
fn a_signal_to_run_alone_is_passed_on_each_time() {
    let script = Script::new();
    let running = script.command(&format!("exec ipcctl run -- {COUNTS}")).own_group().start();
    running.expect_output("ready");
    running.signal_group(Signal::SIGTERM);
    running.expect_output("ready\nTERM\n");
    running.signal(Signal::SIGTERM);
    running.expect_output("ready\nTERM\nTERM\n");
    script.go();
    assert_eq!(running.finish().code, 3);
}

/// The key may be pressed before the command is there to receive its signal.
#[test]
fn a_signal_to_the_whole_group_that_comes_before_the_command_ends_it_all_the_same() {
    let script = Script::new();
    let running = script.command("exec ipcctl run -- sleep 967").own_group().start();
    eventually(SOON, "the directory of a broker that starts", || script.left_behind() != Vec::<PathBuf>::new());
    running.signal_group(Signal::SIGINT);
    assert_eq!(running.finish().signal, Some(Signal::SIGINT as i32));
}

#[test]
fn run_ended_by_a_user_signal_leaves_nothing_behind() {
    let script = Script::new();
    let running = script.command("exec ipcctl run -- sh -c 'echo ready; exec sleep 966'").start();
    running.expect_output("ready");
    running.signal(Signal::SIGUSR1);
    assert_eq!(running.finish().code, 128 + Signal::SIGUSR1 as i32);
    assert_eq!(script.left_behind(), Vec::<PathBuf>::new());
}

// ---- what a killed run leaves

#[test]
fn the_directory_of_a_killed_run_is_removed_by_the_next() {
    let script = Script::new();
    let killed = script.command("exec ipcctl run -- sh -c 'echo ready; exec sleep 967'").start();
    killed.expect_output("ready");
    let sleeping = eventually_some(SOON, "the command", || {
        proc::whose_environment_names(&script.temporary()).into_iter().find(|pid| *pid != killed.pid())
    });
    let _sleeping = Bystanders(vec![sleeping]);
    killed.signal(Signal::SIGKILL);
    drop(killed);
    assert_eq!(script.left_behind().len(), 1);

    script.command("ipcctl run -- true").prints();
    assert_eq!(script.left_behind(), Vec::<PathBuf>::new());
}

#[test]
fn the_directory_of_a_live_run_is_left_alone() {
    let script = Script::new();
    let command = "ipcctl run -- true; ipcctl ping >/dev/null && echo still there";
    assert_eq!(script.command(&format!("ipcctl run -- sh -c '{command}'")).prints_text(), "still there\n");
}

#[test]
fn a_directory_with_a_similar_name_is_left_alone() {
    let script = Script::new();
    let other = script.temporary().join("ipcctl-backup");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("precious"), "").unwrap();
    let empty = script.temporary().join("ipcctl-abc123");
    fs::create_dir(&empty).unwrap();
    script.command("ipcctl run -- true").prints();
    assert!(other.join("precious").exists() && empty.exists());
}
