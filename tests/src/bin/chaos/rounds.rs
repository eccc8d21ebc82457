//! The rounds: harm, a pause, and what is found in it.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use ipc_tests::eventually::within;

use crate::{Options, clock, dice::Dice, harm::Harms, processes::Processes, report::Report, verdict};

/// Runs all rounds, or those up to the first in which anything is not true.
pub(crate) fn run(options: &Options) -> ExitCode {
    println!("chaos: seed {}, {} rounds of {:?}", options.seed, options.rounds(), options.round());
    let (mut processes, mut dice) = (Processes::new(options.seed, options.rate), Dice::new(options.seed, u64::MAX));
    let (mut harms, mut report) = (Harms::new(&options.only), Report::default());
    report.broker.push(processes.at_first());
    for round in 1..=options.rounds() {
        let mut lies = harm(options, &mut processes, &mut harms, &mut dice, &mut report);
        harms.undo_all(&mut processes);
        lies.extend(processes.end_round());
        lies.extend(processes.accidents());
        lies.extend(verdict::judge(processes.ledger(), &processes.history, &mut report));
        lies.extend(processes.left_behind());
        let now = processes.holdings();
        println!("round {round}: {} calls so far, the broker has {} KiB", report.calls, now.resident_kib);
        report.broker.push(now);
        if !lies.is_empty() {
            return fail(options, &mut processes, &report, round, &lies);
        }
    }
    print!("{report}");
    println!("chaos: seed {}: no lies", options.seed);
    ExitCode::SUCCESS
}

/// One round of harm. Returns what went wrong by itself.
fn harm(
    options: &Options,
    processes: &mut Processes,
    harms: &mut Harms,
    dice: &mut Dice,
    report: &mut Report,
) -> Vec<String> {
    let mut accidents = Vec::new();
    let end = Instant::now() + options.round();
    processes.start_round();
    while Instant::now() < end {
        let pause = dice.ms(2 * options.pause.max(1)) + Duration::from_millis(1);
        let mut seen = clock::now();
        within(pause, || {
            harms.undo_due(processes);
            let before = std::mem::replace(&mut seen, clock::now());
            if seen - before > STALL {
                processes.history.stalls.push((before, seen));
            }
            false
        });
        accidents.extend(processes.accidents());
        *report.harms.entry(harms.inflict(processes, dice)).or_default() += 1;
    }
    accidents
}

fn fail(options: &Options, processes: &mut Processes, report: &Report, round: u64, lies: &[String]) -> ExitCode {
    print!("{report}");
    for lie in lies.iter().take(MOST_SHOWN) {
        println!("LIE: {lie}");
    }
    println!("chaos: seed {}: {} lies in round {round}", options.seed, lies.len());
    if let Some(directory) = &options.keep {
        let from = [processes.broker.directory(), processes.ledger()];
        let copied = std::process::Command::new("cp").arg("-r").args(from).arg(directory).status();
        println!("chaos: the ledger is kept in {}: {copied:?}", directory.display());
    }
    ExitCode::FAILURE
}

/// How long this process may be away, which sleeps for 2 ms at a time, until it is taken for a stall. In nanoseconds.
const STALL: u64 = 6_000_000;
/// A bug makes many lies; the first ones tell of it.
const MOST_SHOWN: usize = 20;
