//! Random walks through the world: the cases no story covers. `IPCD_WALK_SEEDS=20000 cargo test -p ipcd --release --test walks`
//! takes more of them; a failure prints its seed and step.
#![forbid(unsafe_code)]

mod world;

use std::{
    fs,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use world::{
    Counter, Dice,
    script::{events_given, streams_given},
    walk::{Walk, walk_counted, walk_given},
};

// Two tests with half of the seeds each, so that two processors share the work.
#[test]
fn walks_of_even_seeds_keep_every_promise() {
    walk_all(0..seeds() / 2, |seed| seed * 2);
}

#[test]
fn walks_of_odd_seeds_keep_every_promise() {
    walk_all(0..seeds() / 2, |seed| seed * 2 + 1);
}

#[test]
fn walks_of_the_fuzz_corpus_keep_every_promise() {
    run_corpus("core_ops", walk_given);
}

#[test]
fn scripts_of_the_corpus_of_events_keep_every_promise() {
    run_corpus("events", events_given);
}

#[test]
fn scripts_of_the_corpus_of_streams_keep_every_promise() {
    run_corpus("streams", streams_given);
}

/// Runs the committed inputs of a fuzz target.
fn run_corpus(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let inputs: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 10, "the corpus of {target} has {} inputs", inputs.len());
    inputs.iter().for_each(|choices| run(choices));
}

/// The same without a fuzzer.
#[test]
fn scripts_of_streams_from_seeds_keep_every_promise() {
    (0..seeds() / 2).for_each(|seed| {
        let mut dice = Dice::seeded(seed);
        let choices: Vec<u8> = (0..600).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| streams_given(&choices))) {
            eprintln!("seed {seed}");
            resume_unwind(panic);
        }
    });
}

/// Every sequence of the first choices, so that no combination of two steps is left to chance.
#[test]
fn walks_of_all_first_choices_keep_every_promise() {
    let usual = if cfg!(debug_assertions) { 3 } else { 4 };
    let depth = if std::env::var_os("IPCD_SOAK").is_some() { 6 } else { usual };
    let mut counter = Counter::new(depth);
    let mut walks = 1;
    while let Some(()) = walk_on(&mut counter) {
        walks += 1;
    }
    println!("{walks} walks are all sequences of the first {depth} choices");
    assert!(walks > 100, "the choices are not counted");
}

fn walk_all(seeds: Range<u64>, numbered: fn(u64) -> u64) {
    let first = std::env::var("IPCD_WALK_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    seeds.map(numbered).for_each(|seed| walk(first + seed));
}

/// Takes a walk, and goes on to the next one. `None` after the last.
fn walk_on(counter: &mut Counter) -> Option<()> {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| walk_counted(counter))) {
        eprintln!("{counter:?}");
        resume_unwind(panic);
    }
    counter.advance().then_some(())
}

fn walk(seed: u64) {
    let mut at = 0;
    let walked = catch_unwind(AssertUnwindSafe(|| {
        let mut walk = Walk::new(Dice::seeded(seed));
        while at < STEPS {
            walk.step();
            at += 1;
        }
        walk.finish();
    }));
    if let Err(panic) = walked {
        eprintln!("seed {seed} step {at}");
        resume_unwind(panic);
    }
}

/// Enough for a few seconds, unless the environment says otherwise.
fn seeds() -> u64 {
    let usual = if cfg!(debug_assertions) { 60 } else { 200 };
    std::env::var("IPCD_WALK_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

const STEPS: u32 = 2_000;
