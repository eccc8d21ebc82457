//! Clocks that jump, and deadlines of every length (N).

use std::{path::PathBuf, process::Command as Compiler, time::Duration};

use ipc_protocol::{Call, ErrorCode, Message};
use ipc_tests::{
    broker::{Broker, skip},
    command::Command,
    peer::{Peer, call},
    programs::Programs,
    siege::Siege,
};

#[test]
fn n01_a_wall_clock_that_jumps_by_a_day_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let Some(library) = jumping_clock(directory.path().join("clock.c")) else {
        skip("no C compiler, or a broker that is linked statically");
        return;
    };
    let launcher = Command::new(&Programs::get().ipcd, [""; 0]).env("LD_PRELOAD", &library);
    let mut siege = Siege::at(Broker::launched_by("", launcher));
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("slow", 1);
        let start = std::time::Instant::now();
        caller.call_within("slow", "", Duration::from_millis(100));
        assert_eq!(caller.failure().code, ErrorCode::DEADLINE);
        assert!(start.elapsed() >= Duration::from_millis(95), "{:?}", start.elapsed());
    });
    siege.lift();
}

/// A library whose wall clock is a day ahead or behind, in turn, at every look.
fn jumping_clock(source: PathBuf) -> Option<PathBuf> {
    std::fs::write(&source, JUMPING_CLOCK).ok()?;
    let library = source.with_extension("so");
    let status =
        Compiler::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status().ok()?;
    let date = Command::new("date", ["+%s"]).env("LD_PRELOAD", &library).prints_text();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let jumps = date.trim().parse::<u64>().ok()?.abs_diff(now) > 80_000;
    (status.success() && jumps).then_some(library)
}

const JUMPING_CLOCK: &str = r"
#define _GNU_SOURCE
#include <time.h>
#include <sys/time.h>
#include <unistd.h>
#include <sys/syscall.h>
static int jumps;
static long jump(void) { return jumps++ % 2 ? -86400 : 86400; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return failed;
}
time_t time(time_t *when) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (when) *when = now.tv_sec;
    return now.tv_sec;
}
";

#[test]
fn n02_deadlines_of_every_length_delay_no_peer() {
    let mut siege = Siege::lay();
    siege.endure(|broker| {
        let (mut service, mut caller) = (Peer::connect(broker), Peer::connect(broker));
        service.register("slow", 1_000);
        for (id, timeout_ms) in (1..).zip([0, 1, 2, u32::MAX - 1, u32::MAX]) {
            caller.send(&Message::Call(Call { timeout_ms, ..call(id, "slow", "") }));
        }
        assert_eq!([caller.failure(), caller.failure()].map(|failure| failure.code), [ErrorCode::DEADLINE; 2]);
        caller.settle();
    });
    siege.lift();
}

#[test]
fn n02_thousands_of_deadlines_at_the_same_moment_delay_no_peer() {
    let mut siege = Siege::with_config("[limits]\ncalls_per_service = 100000\n");
    let mut service = Peer::connect(siege.broker());
    service.register("never", 1);
    siege.endure(|broker| {
        let mut callers: Vec<Peer> = (0..10).map(|_| Peer::connect(broker)).collect();
        for caller in &mut callers {
            let calls = (1..=1_000).map(|id| Message::Call(Call { timeout_ms: 300, ..call(id, "never", "") }));
            caller.send_bytes(&calls.flat_map(|call| call.to_vec()).collect::<Vec<_>>());
        }
        for caller in &mut callers {
            (0..1_000).for_each(|_| assert_eq!(caller.failure().code, ErrorCode::DEADLINE));
        }
    });
    drop(service);
    siege.lift();
}
