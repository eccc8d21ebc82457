//! Small worlds, all of them: breadth first over the states that a few peers with a window and a queue of one can reach.
//!
//! From each state every input is tried in a copy of the world, which checks its promises as it does in a story: the invariants, the
//! ledger and the model after each step. Each state that is new is also ended, to see that nothing is left of it. States that differ
//! in nothing but numbers are one ([`canon`]).
//!
//! All of them end: after some number of steps no input leads to a state that is new. If a change makes one grow without end, either the broker
//! counts something that it should not keep, or the form of a state has to leave it out. `IPCD_SOAK=1` adds inputs, which takes minutes
//! with `cargo test -p ipcd --release --test exhaustive -- --nocapture`. Each world prints its size.
#![forbid(unsafe_code)]

#[path = "../world/mod.rs"]
mod world;

mod canon;
mod small;

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
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
    Space::new(Small::with_two_services()).explore(&steps, &[]);
}

#[test]
fn two_callers_of_two_services_with_room_for_one_call() {
    let steps = [Call(A, "s"), Call(A, "t"), Call(B, "s"), Reply(S), Reply(T), Cancel(A), Pass];
    let more = [OneWay(B, "t"), Fail(S), Again(S), Cancel(B), Drain];
    Space::new(Small::with_two_services()).explore(&steps, &more);
}

#[test]
fn services_that_come_and_go() {
    let steps = [Call(A, "s"), Reply(S), Close(S), Arrive(S), Unregister(S), Register(S), Close(T), Arrive(T), Pass];
    let more = [Call(B, "s"), Reply(T), Cancel(A)];
    Space::new(Small::with_a_shared_name()).explore(&steps, &more);
}

#[test]
fn callers_that_come_and_go_and_wait_for_a_name() {
    let steps = [Call(A, "s"), OneWay(A, "s"), Wait(B), Reply(S), Close(A), Arrive(A), Close(S), Arrive(S), Pass];
    let more = [Call(B, "s"), Wait(A), Close(B), Arrive(B), Drain];
    Space::new(Small::with_two_services()).explore(&steps, &more);
}

#[test]
fn a_service_that_does_not_read() {
    let steps = [Call(A, "s"), Direct(B), Pause(S), Resume(S), Reply(S), Cancel(B), Close(S), Pass];
    let more = [Call(B, "s"), Again(S), Close(A), EndSending(A)];
    Space::new(Small::with_two_services()).explore(&steps, &more);
}

/// The states that some inputs can lead to.
struct Space {
    /// By the key of each state the keys of those that follow, one for each input that makes sense.
    seen: HashMap<u64, Vec<Option<u64>>>,
    /// States whose inputs were not tried.
    frontier: VecDeque<(u64, Small)>,
    /// States that were seen before, as they are reached the second time.
    twins: Vec<(u64, Small)>,
    edges: usize,
}

impl Space {
    fn new(start: Small) -> Self {
        let key = start.key();
        let seen = HashMap::from([(key, Vec::new())]);
        Self { seen, frontier: VecDeque::from([(key, start)]), twins: Vec::new(), edges: 0 }
    }

    /// Tries all inputs in all states, until none is new. In a soak there are more inputs.
    fn explore(mut self, steps: &[Step], more: &[Step]) {
        let more = if std::env::var_os("IPCD_SOAK").is_some() { more } else { &[] };
        let (steps, mut deepest) = ([steps, more].concat(), 0);
        while let Some((key, small)) = self.frontier.pop_front() {
            let next = try_all(&small, &steps);
            self.seen.insert(key, keys(&next));
            next.into_iter().flatten().for_each(|(key, small)| self.meet(key, small));
            deepest = small.path().len();
            assert!(self.seen.len() <= MOST, "there is no end: {:?}", small.path());
        }
        println!("{} states, {} edges, depth {deepest}, {} twins", self.seen.len(), self.edges, self.twins.len());
        assert!(self.seen.len() > 100, "the inputs have no effect");
        for (key, twin) in &self.twins {
            assert_eq!(keys(&try_all(twin, &steps)), self.seen[key], "the form lacks something: {:?}", twin.path());
        }
    }

    /// Ends a state that is new, and keeps it to be looked at later.
    fn meet(&mut self, key: u64, small: Small) {
        self.edges += 1;
        if self.seen.contains_key(&key) {
            if self.edges.is_multiple_of(TWINS) {
                self.twins.push((key, small));
            }
            return;
        }
        let ended = catch_unwind(AssertUnwindSafe(|| small.fork(&small.state()).end()));
        ended.unwrap_or_else(|panic| fail(&small, "the end", panic));
        self.seen.insert(key, Vec::new());
        self.frontier.push_back((key, small));
    }
}

/// Takes each step from a state, and returns what it leads to with its key.
fn try_all(from: &Small, steps: &[Step]) -> Vec<Option<(u64, Small)>> {
    let state = from.state();
    let take = |step: Step| {
        let mut small = from.fork(&state);
        small.take(step);
        (small.key(), small)
    };
    let try_one = |step: &Step| {
        let taken = from.can(*step).then(|| catch_unwind(AssertUnwindSafe(|| take(*step))));
        taken.map(|taken| taken.unwrap_or_else(|panic| fail(from, &format!("{step:?}"), panic)))
    };
    steps.iter().map(try_one).collect()
}

fn keys(next: &[Option<(u64, Small)>]) -> Vec<Option<u64>> {
    next.iter().map(|next| next.as_ref().map(|(key, _)| *key)).collect()
}

/// Says how the world got to where it fails.
fn fail(small: &Small, then: &str, panic: Box<dyn Any + Send>) -> ! {
    eprintln!("{:?}, then {then}", small.path());
    resume_unwind(panic)
}

/// More states than any of these worlds has. If there are more, the form of a state holds something that only grows.
const MOST: usize = 100_000;
/// One of this number of states that are reached again is tried again, to see that it leads to the same states as before.
const TWINS: usize = 32;
