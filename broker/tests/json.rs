//! Runs the committed corpora of the fuzz targets of JSON-RPC, and what a seeded generator makes of them.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

#[path = "../../tests/fuzz/src/json.rs"]
#[expect(unreachable_pub, reason = "it is part of the fuzz package")]
mod invariants;

#[test]
fn the_scanner_finds_the_values_that_serde_json_finds() {
    run("json", invariants::json);
}

#[test]
fn a_body_survives_the_way_into_json_and_back() {
    run("crossing", invariants::crossing);
}

#[test]
fn a_stream_means_the_same_however_it_is_cut() {
    run("messages", invariants::messages);
}

/// Holds the inputs of a target to it, and thousands of others that are made of them.
fn run(target: &str, holds: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let inputs: Vec<Vec<u8>> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(inputs.len() >= 10, "the corpus of {target} has {} inputs", inputs.len());
    let mut state = 1_u64;
    let mut dice = move |sides: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap_or(0) % sides.max(1)
    };
    for input in &inputs {
        holds(input);
        for _ in 0..300 {
            let mut changed = input.clone();
            for _ in 0..=dice(3) {
                let (at, other) = (dice(changed.len() + 1), &inputs[dice(inputs.len())]);
                match dice(4) {
                    0 => changed.truncate(at),
                    1 => changed.insert(at, BYTES[dice(BYTES.len())]),
                    2 if at < changed.len() => changed[at] = BYTES[dice(BYTES.len())],
                    _ => drop(changed.splice(at.., other[dice(other.len() + 1)..].iter().copied())),
                }
            }
            holds(&changed);
        }
    }
}

/// Bytes that matter.
const BYTES: &[u8] = b"{}[]\":,\\/ub0123eE.+-tfn \n\r\t\x0c\0\x1f\x7f\x80\xbf\xc2\xe2\xed\xf4\xff";
