//! Agents that are built with the protocol's own Python package, in both eras. It comes from the package index, so this runs only where
//! `IPCD_TEST_MCP_PYTHON` names a Python that has it.

use std::{path::PathBuf, time::Duration};

use ipc_tests::{
    broker::{Broker, skip},
    command::Command,
};

/// Lists and calls, sees progress, cancels.
const SCRIPT: &str = include_str!("agent.py");

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("IPCD_TEST_MCP_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip("IPCD_TEST_MCP_PYTHON names no Python with the package mcp");
    }
    python
}

fn run(mode: &str) {
    let Some(python) = python() else { return };
    let broker = Broker::start();
    let _upper = broker.serve("upper", &["upper", "--", "tr", "a-z", "A-Z"]);
    let _tick = broker.serve("tick", &["tick", "--stream", "--lines", "--", "sh", "-c", "echo one; echo two"]);
    let _calc = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    let script = broker.file("agent.py", SCRIPT);
    let agent = Command::new(python, [script.as_os_str(), mode.as_ref()]).socket(broker.socket());
    // The package is large: on a busy machine reading it alone takes half a minute.
    let agent = agent.env("XDG_CACHE_HOME", broker.directory()).patience(Duration::from_secs(180));
    let finished = agent.run();
    assert_eq!((finished.code, finished.stdout().as_str()), (0, "ok\n"), "{}", finished.stderr);
}

#[test]
fn the_python_package_calls_with_a_session() {
    run("legacy");
}

#[test]
fn the_python_package_calls_without_one() {
    run("2026-07-28");
}
