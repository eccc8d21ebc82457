//! A client against a broker that sends items, credit, events and gaps in any order. The fuzz target `session` looks for more of them.
#![forbid(unsafe_code)]

mod given;

use std::{fs, path::Path};

#[test]
fn scripts_of_the_fuzz_corpus_are_told_in_order() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/session");
    let inputs: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 10, "the corpus has {} inputs", inputs.len());
    inputs.iter().for_each(|script| given::run(script));
}

#[test]
fn scripts_from_seeds_are_told_in_order() {
    let mut state = 1_u64;
    let mut next = || {
        // xorshift64: scripts need variety, not quality.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 40 & 0xff).unwrap()
    };
    for _ in 0..300 {
        let script: Vec<u8> = (0..300).map(|_| next()).collect();
        given::run(&script);
    }
}
