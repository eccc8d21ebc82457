//! Runs of the program `chaos`: a short one of everything, and with `IPCD_SOAK=1` long ones of what has a bound.
//!
//! They are apart from the end-to-end tests, because they would disturb those that run beside them.
#![forbid(unsafe_code)]

use std::time::Duration;

use ipc_tests::{
    broker::{is_soak, skip},
    command::Command,
    programs::Programs,
};

/// Runs the program. Panics with what it prints unless it finds that nothing was a lie.
fn chaos(arguments: &str) -> Shown {
    let command = Command::new(env!("CARGO_BIN_EXE_chaos"), arguments.split(' '));
    let command = command.env("IPCD_TEST_PROGRAMS", &Programs::get().directory).patience(Duration::from_secs(600));
    let finished = command.run();
    let shown = finished.stdout();
    assert_eq!(finished.code, 0, "{shown}{}", finished.stderr);
    println!("{shown}");
    Shown(shown)
}

/// What the program prints at its end.
struct Shown(String);

impl Shown {
    /// The value before a text.
    fn value(&self, what: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.trim_start().split_once(' ').filter(|(_, rest)| *rest == what));
        line.unwrap_or_else(|| panic!("nothing of {what:?} in {}", self.0)).0.parse().expect("a number")
    }
}

#[test]
fn under_all_harms_no_caller_is_told_a_lie_and_the_broker_keeps_nothing() {
    let shown = chaos("--seconds 10 --seed 7 --rate 2000");
    assert!(shown.value("calls") > 1_000.0 && shown.value("answered") > 100.0, "{}", shown.0);
}

#[test]
fn a_thousand_services_are_killed_under_load_and_their_callers_are_told_within_10_ms() {
    if !is_soak() {
        return skip("it takes two minutes, with IPCD_SOAK=1");
    }
    let shown = chaos("--seconds 110 --seed 2 --rate 20000 --pause 50 --only kill-service");
    assert!(shown.value("times KillService") >= 1_000.0, "{}", shown.0);
    assert!(shown.value("calls") >= 110.0 * 20_000.0 * 0.9, "{}", shown.0);
    assert!(shown.value("ms from kill to error, p99") <= 10.0, "{}", shown.0);
    assert!(shown.value("ms from kill to error, max") <= 100.0, "{}", shown.0);
}

#[test]
fn two_hundred_brokers_are_killed_under_load_and_no_caller_is_told_a_lie() {
    if !is_soak() {
        return skip("it takes two minutes, with IPCD_SOAK=1");
    }
    let shown = chaos("--seconds 110 --seed 3 --pause 400 --only kill-broker");
    assert!(shown.value("times KillBroker") >= 200.0, "{}", shown.0);
}
