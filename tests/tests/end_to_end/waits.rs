//! `ipcctl wait`, and `show` of what was waited for: names that come and go, and brokers that do.

use ipc_tests::broker::Broker;

// ---- show

#[test]
fn show_takes_a_method_as_well_as_a_service() {
    let broker = Broker::start();
    let _service = broker.serve("text.upper", &["text.upper", "--", "tr", "a-z", "A-Z"]);
    let shown = |name: &str| broker.ipcctl(["show", name]).prints_text();
    assert!(shown("text.upper").contains("text.upper"));
    assert_eq!(shown("text.upper.now"), shown("text.upper"), "it answers any method");
    let finished = broker.ipcctl(["show", "nobody"]).run();
    let line = finished.refused(68);
    assert!(!line.contains("--wait"), "{line}");
}
