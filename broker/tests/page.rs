//! Compares the settings in docs/protocol.md with those of the broker.
#![forbid(unsafe_code)]

use std::{fs, path::Path};

use ipcd::core::Limits;

#[test]
fn the_documented_settings_are_those_of_the_broker() {
    let limits = serde_json::to_value(Limits::default()).unwrap();
    let documented = settings();
    let of_broker: Vec<_> = documented.iter().map(|(name, _)| (name.clone(), limits[name.as_str()].as_u64())).collect();
    assert_eq!(documented, of_broker);
    assert_eq!(documented.len(), 16);
}

/// The name and default in each row of the table of settings.
fn settings() -> Vec<(String, Option<u64>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, table) = page.split_once("| setting | default | unit |").expect("the page has a table of settings");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().replace(['`', ','], "")).collect::<Vec<_>>();
    rows.map(cells).map(|cells| (cells[1].clone(), cells[2].parse().ok())).collect()
}
