//! Reads docs/protocol.md: its hexdumps and its tables.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{fs, path::Path};

/// The document.
pub(crate) fn text() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The hexdumps in the order of the document: the name behind `hex` on the fence, and the bytes without their comments.
pub(crate) fn frames() -> Vec<(String, Vec<u8>)> {
    text()
        .split("```hex ")
        .skip(1)
        .map(|block| {
            let (name, rest) = block.split_once('\n').expect("a fence has a name");
            let (dump, _) = rest.split_once("```").expect("a block has an end");
            (name.trim().to_owned(), bytes(dump))
        })
        .collect()
}

/// The frame under a name.
pub(crate) fn frame(name: &str) -> Vec<u8> {
    let found = frames().into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("the document has no hexdump {name:?}")).1
}

/// Rows of the table in a section whose first column has the given heading, cells without backticks.
pub(crate) fn table(section: &str, first_column: &str) -> Vec<Vec<String>> {
    let (text, heading) = (text(), format!("| {first_column} |"));
    let (_, from_here) =
        text.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section:?}"));
    let lines: Vec<_> = from_here.lines().take_while(|line| !line.starts_with("## ")).collect();
    let is_heading = |pair: &[&str]| pair[0].starts_with(&heading) && pair[1].starts_with("|--");
    let start = lines.windows(2).position(is_heading).unwrap_or_else(|| panic!("no table {heading:?} in {section:?}"));
    let rows = lines[start + 2..].iter().take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

/// A number as the document writes it: decimal with thousands apart, or hexadecimal.
pub(crate) fn number(cell: &str) -> u64 {
    let digits = cell.replace(',', "");
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    number.unwrap_or_else(|error| panic!("{cell:?} isn't a number: {error}"))
}

fn bytes(dump: &str) -> Vec<u8> {
    dump.lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
        .map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|error| panic!("{pair:?} isn't a byte: {error}")))
        .collect()
}
