//! Runs the committed corpora of the fuzz targets through the assertions of the targets, on any toolchain.
#![forbid(unsafe_code)]

mod document;

#[path = "../../tests/fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz package")]
mod invariants;

use std::{collections::BTreeMap, fs, path::Path};

#[test]
fn the_frame_corpus_holds() {
    run("frame", invariants::frame);
}

#[test]
fn the_routing_corpus_holds() {
    run("routing", invariants::routing);
}

#[test]
fn the_datagram_corpus_holds() {
    run("datagram", invariants::datagram);
}

#[test]
fn the_pattern_corpus_holds() {
    run("pattern", invariants::pattern);
}

#[test]
fn the_codec_corpus_holds() {
    run("codec", invariants::codec);
}

#[test]
fn the_mcp_corpus_holds() {
    run("mcp", invariants::mcp);
}

#[test]
fn the_corpora_hold_the_frames_of_the_document() {
    let corpus = corpus("datagram");
    let missing: Vec<_> = document::frames()
        .into_iter()
        .filter(|(name, bytes)| corpus.get(name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

fn run(target: &str, holds: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() >= 10, "the corpus of {target} has {} inputs", corpus.len());
    corpus.values().for_each(|input| holds(input));
}

/// The inputs of a target by the names of their files.
fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    entries.map(|entry| read(entry.unwrap())).collect()
}
