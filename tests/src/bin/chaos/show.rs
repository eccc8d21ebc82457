//! The rounds: harm, a pause, and what is found in it.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use ipc_tests::eventually::within;

use crate::{Options, cast::Cast, dice::Dice, harm::Villain, report::Report, verdict};

/// Plays all rounds, or those up to the first in which anything is not true.
pub(crate) fn play(options: &Options) -> ExitCode {
    println!("chaos: seed {}, {} rounds of {:?}", options.seed, options.rounds(), options.round());
    let (mut cast, mut dice) = (Cast::new(options.seed, options.rate), Dice::new(options.seed, u64::MAX));
    let (mut villain, mut report) = (Villain::new(&options.only), Report::default());
    report.broker.push(cast.at_first());
    for round in 1..=options.rounds() {
        let mut lies = harm(options, &mut cast, &mut villain, &mut dice, &mut report);
        villain.repent(&mut cast);
        lies.extend(cast.leave());
        lies.extend(cast.accidents());
        lies.extend(verdict::judge(cast.ledger(), &cast.chronicle, &mut report));
        lies.extend(cast.left_behind());
        let now = cast.possessions();
        println!("round {round}: {} calls so far, the broker has {} KiB", report.calls, now.resident_kib);
        report.broker.push(now);
        if !lies.is_empty() {
            return condemn(options, &mut cast, &report, round, &lies);
        }
    }
    print!("{report}");
    println!("chaos: seed {}: no lies", options.seed);
    ExitCode::SUCCESS
}

/// One round of harm. Returns what went wrong by itself.
fn harm(
    options: &Options,
    cast: &mut Cast,
    villain: &mut Villain,
    dice: &mut Dice,
    report: &mut Report,
) -> Vec<String> {
    let mut accidents = Vec::new();
    let end = Instant::now() + options.round();
    cast.enter();
    while Instant::now() < end {
        let pause = dice.ms(2 * options.pause.max(1)) + Duration::from_millis(1);
        within(pause, || {
            villain.relent(cast);
            false
        });
        accidents.extend(cast.accidents());
        *report.harms.entry(villain.strike(cast, dice)).or_default() += 1;
    }
    accidents
}

fn condemn(options: &Options, cast: &mut Cast, report: &Report, round: u64, lies: &[String]) -> ExitCode {
    print!("{report}");
    for lie in lies.iter().take(MOST_SHOWN) {
        println!("LIE: {lie}");
    }
    println!("chaos: seed {}: {} lies in round {round}", options.seed, lies.len());
    if let Some(directory) = &options.keep {
        let from = cast.broker.directory();
        let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(directory).status();
        println!("chaos: the ledger is kept in {}: {copied:?}", directory.display());
    }
    ExitCode::FAILURE
}

/// A bug makes many lies; the first ones tell of it.
const MOST_SHOWN: usize = 20;
