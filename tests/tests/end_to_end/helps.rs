//! What `ipcctl` tells about itself: help, manual pages, completions.

use ipc_tests::{broker::Broker, command::Command, peer::Peer};

const VERBS: [&str; 13] = [
    "send",
    "serve",
    "run",
    "wait",
    "list",
    "show",
    "peers",
    "stats",
    "limits",
    "ping",
    "bench",
    "completions",
    "help",
];

// ---- manual pages

#[test]
fn a_manual_page_of_each_verb_has_all_its_sections() {
    let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"];
    for verb in VERBS {
        let page = Command::ipcctl(["man", verb]).prints_text();
        let missing: Vec<_> = sections.iter().filter(|section| !page.contains(&format!("\n.SH {section}\n"))).collect();
        assert!(missing.is_empty(), "{verb}: {missing:?}");
        assert!(page.contains(".SH EXAMPLE"), "{verb}: no example");
        assert!(page.contains("ipcctl(1)") && page.contains("ipcd(8)"), "{verb}: nothing to see also");
    }
}

#[test]
fn the_page_of_the_whole_names_every_verb() {
    let page = Command::ipcctl(["man"]).prints_text();
    for verb in VERBS {
        assert!(page.contains(&format!("ipcctl\\-{verb}\\fR(1)")), "{verb}");
    }
}

#[test]
fn tables_of_a_manual_page_are_not_filled() {
    let page = Command::ipcctl(["man", "send"]).prints_text();
    let table = page.split(".SH EXIT STATUS").nth(1).expect("the section");
    let table = table.split(".nf\n").nth(1).and_then(|rest| rest.split(".fi\n").next()).expect("lines as they are");
    assert!(table.lines().count() > 15, "{table}");
}
