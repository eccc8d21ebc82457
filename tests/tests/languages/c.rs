//! `examples/c/peer.c`, which is written from docs/protocol.md alone: it calls, and it serves.

use std::{fs, path::Path};

use ipc_tests::{
    broker::{Broker, can},
    command::Command,
};

/// Builds the program into the directory of a broker. `None` where there is no compiler.
fn built(broker: &Broker) -> Option<String> {
    if !can("cc --version") {
        return None;
    }
    let program = broker.directory().join("peer").display().to_string();
    let strict = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", &program];
    assert_eq!(Command::new("cc", strict).argument(source()).prints_text(), "");
    Some(program)
}

fn source() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples/c/peer.c").display().to_string()
}

fn peer(broker: &Broker, program: &str, arguments: [&str; 3]) -> Command {
    Command::new(program, arguments.iter().filter(|argument| !argument.is_empty())).socket(broker.socket())
}

#[test]
fn a_service_in_c_answers_the_shell_and_a_client_in_c() {
    let broker = Broker::start();
    let Some(program) = built(&broker) else { return };
    let _service = peer(&broker, &program, ["serve", "upper", ""]).start();
    broker.wait_for("upper");
    assert_eq!(broker.ipcctl(["send", "upper", "hello"]).prints_text(), "HELLO");
    assert_eq!(peer(&broker, &program, ["call", "upper", "hello"]).prints_text(), "HELLO");
    let long = "a".repeat(1 << 20);
    assert_eq!(broker.ipcctl(["send", "upper", "-"]).input(long.clone()).prints_text(), long.to_uppercase());
}

#[test]
fn a_client_in_c_calls_other_services_and_says_why_a_call_failed() {
    let broker = Broker::start();
    let Some(program) = built(&broker) else { return };
    let _service = broker.example("calc_service", &[]).start();
    broker.wait_for("calc");
    assert_eq!(peer(&broker, &program, ["call", "calc.add", r#"{"a":1,"b":2}"#]).prints_text(), "3");
    let refused = peer(&broker, &program, ["call", "clock", "x"]).run();
    assert_eq!((refused.code, refused.stderr.as_str()), (1, "peer: no process offers 'clock'\n"));
    let taken = peer(&broker, &program, ["serve", "calc", ""]).run();
    assert!(taken.code == 1 && taken.stderr.contains("'calc' is held by"), "{}", taken.stderr);
}

#[test]
fn the_program_in_c_has_at_most_sixty_lines() {
    assert!(fs::read_to_string(source()).unwrap().lines().count() <= 60);
}
