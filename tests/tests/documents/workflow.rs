//! The forge's workflow runs only steps of `.ci/run` and scripts that exist.

use std::process::Command;

use crate::{read, root};

#[test]
fn the_workflow_runs_steps_that_exist() {
    let steps = steps();
    let wanted = steps_of_the_workflow();
    let unknown: Vec<_> = wanted.iter().filter(|step| !steps.contains(step)).collect();
    assert!(unknown.is_empty(), "{unknown:?} is not among {steps:?}");
}

#[test]
fn the_workflow_runs_every_step() {
    let wanted = steps_of_the_workflow();
    let forgotten: Vec<_> = steps().into_iter().filter(|step| !of_a_change().contains(step)).collect();
    let forgotten: Vec<_> = forgotten.iter().filter(|step| !wanted.contains(step)).collect();
    assert!(forgotten.is_empty(), "the workflow runs none of {forgotten:?}");
    assert!(workflow().lines().any(|line| line.trim() == "- run: .ci/run"), "no job runs the checks of a change");
}

#[test]
fn nothing_is_left_unchecked_in_the_workflow() {
    assert!(workflow().contains("UNCHECKED: fail"));
}

fn steps() -> Vec<String> {
    let listed = Command::new(root().join(".ci/run")).arg("--list").output().expect(".ci/run is a program");
    let steps: Vec<_> = String::from_utf8(listed.stdout).expect("text").lines().map(str::to_owned).collect();
    assert!(steps.len() > 6, "{steps:?}");
    steps
}

/// What `.ci/run` does without arguments.
fn of_a_change() -> Vec<String> {
    let script = read(&root().join(".ci/run"));
    let line = script.lines().find_map(|line| line.strip_prefix("CHANGE=(")?.strip_suffix(')'));
    line.expect("the script lists them").split(' ').map(str::to_owned).collect()
}

/// The arguments of `.ci/run` in the workflow and its matrix.
fn steps_of_the_workflow() -> Vec<String> {
    let workflow = workflow();
    let argument = |line: &str| {
        let (_, arguments) = line.split_once(".ci/run ")?;
        arguments.split(' ').next().filter(|step| *step != "${{").map(str::to_owned)
    };
    let runs = workflow.lines().filter(|line| line.contains("run:"));
    let matrix = workflow.lines().find_map(|line| line.trim().strip_prefix("step: [")?.strip_suffix(']'));
    let of_the_matrix = matrix.expect("there is a matrix of steps").split(", ").map(str::to_owned);
    runs.filter_map(argument).chain(of_the_matrix).collect()
}

fn workflow() -> String {
    read(&root().join(".github/workflows/ci.yml"))
}
