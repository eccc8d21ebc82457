//! Small worlds, all of them: breadth first over the states that a few peers with a window and a queue of one can reach.
//!
//! From each state every input is tried in a copy of the world, which checks its promises as it does in a story: the invariants, the
//! ledger and the model after each step. Each state that is new is also ended, to see that nothing is left of it. States that differ
//! in nothing but numbers are one ([`canon`]).
//!
//! Usually they go to a stated depth. `IPCD_SOAK=1 cargo test -p ipcd --release --test exhaustive -- --nocapture` goes to the end of a
//! space, or as far as [`Space::LIMIT`], and prints how many states there are.
#![forbid(unsafe_code)]

#[path = "../world/mod.rs"]
mod world;

mod canon;
mod small;

use std::{
    collections::{HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use small::{Small, Step, Step::*};

/// Callers and services by their place among the peers of a small world.
const A: usize = 0;
const B: usize = 1;
const S: usize = 2;
const T: usize = 3;

#[test]
fn two_callers_of_a_service_with_room_for_one_call() {
    let steps =
        [Call(A, "s"), Call(B, "s"), OneWay(B, "s"), Reply(S), Fail(S), Again(S), Cancel(A), Cancel(B), Pass, Drain];
    Space::new(&steps, Small::with_two_services()).explore(4);
}

#[test]
fn two_callers_of_two_services_with_room_for_one_call() {
    let steps = [
        Call(A, "s"),
        Call(A, "t"),
        Call(B, "s"),
        OneWay(B, "t"),
        Reply(S),
        Reply(T),
        Fail(S),
        Again(S),
        Cancel(A),
        Cancel(B),
        Pass,
        Drain,
    ];
    Space::new(&steps, Small::with_two_services()).explore(4);
}

#[test]
fn callers_and_services_that_come_and_go() {
    let steps = [
        Call(A, "s"),
        Call(B, "s"),
        OneWay(A, "s"),
        Wait(B),
        Reply(S),
        Close(A),
        Close(S),
        Close(T),
        Arrive(A),
        Arrive(S),
        Arrive(T),
        Unregister(S),
        Register(S),
        Pass,
    ];
    Space::new(&steps, Small::with_a_shared_name()).explore(3);
}

#[test]
fn a_service_that_does_not_read() {
    let steps = [
        Call(A, "s"),
        Call(B, "s"),
        Direct(B),
        Pause(S),
        Resume(S),
        Reply(S),
        Again(S),
        Cancel(B),
        Close(A),
        Close(S),
        EndSending(A),
        Pass,
    ];
    Space::new(&steps, Small::with_two_services()).explore(4);
}

/// The states that some inputs can lead to.
struct Space<'a> {
    steps: &'a [Step],
    seen: HashSet<u64>,
    /// States whose inputs were not tried, with their depth.
    frontier: VecDeque<(Small, usize)>,
    edges: usize,
}

impl<'a> Space<'a> {
    /// States after which a space counts as too large to be seen to its end.
    const LIMIT: usize = 100_000;

    fn new(steps: &'a [Step], start: Small) -> Self {
        Self { steps, seen: HashSet::from([start.key()]), frontier: VecDeque::from([(start, 0)]), edges: 0 }
    }

    /// Tries all inputs in all states up to a depth, or in a soak to the end.
    fn explore(mut self, depth: usize) {
        let most = if std::env::var_os("IPCD_SOAK").is_some() { usize::MAX } else { depth };
        let mut reached = 0;
        while let Some((small, depth)) = self.frontier.pop_front() {
            if depth == most || self.seen.len() > Self::LIMIT {
                reached = depth;
                break;
            }
            reached = depth + 1;
            self.steps.iter().for_each(|step| self.try_out(&small, *step, depth + 1));
        }
        let whole = if self.frontier.is_empty() { "all of them" } else { "not all" };
        println!("{} states, {whole}; {} edges, depth {reached}", self.seen.len(), self.edges);
        assert!(self.seen.len() > 100, "the inputs have no effect");
    }

    /// Takes one step from a state. What it leads to is looked at later, unless it was seen before.
    fn try_out(&mut self, from: &Small, step: Step, depth: usize) {
        if !from.can(step) {
            return;
        }
        self.edges += 1;
        let mut small = from.fork();
        let taken = catch_unwind(AssertUnwindSafe(|| {
            small.take(step);
            let is_new = self.seen.insert(small.key());
            if is_new {
                small.fork().end();
            }
            is_new
        }));
        match taken {
            Ok(true) => self.frontier.push_back((small, depth)),
            Ok(false) => {}
            Err(panic) => {
                eprintln!("{:?}, then {step:?}", from.path());
                resume_unwind(panic);
            }
        }
    }
}
