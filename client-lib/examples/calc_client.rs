//! A typed client of `calc`: a call, an error of the service, many concurrent calls, and a panic in the service.
#![forbid(unsafe_code)]

mod calc;

use std::process::ExitCode;

use calc::{CalcAdd, CalcClient, CalcError};
use ipc_client::{CallError, Client, ErrorCode};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect()?;
    let calc = CalcClient::new(&client);
    println!("1 + 2 = {}", calc.add(1, 2)?);

    match calc.div(1, 0) {
        Ok(quotient) => println!("1 / 0 = {quotient}"),
        Err(CallError::App(CalcError::DivisionByZero)) => println!("1 / 0: the service says no"),
        Err(other) => return Err(other.into()),
    }

    let corked = client.cork(); // the calls leave together, with one write
    let sums: Vec<_> = (0..64).map(|n| client.start(CalcAdd { a: n, b: n })).collect::<Result<_, _>>()?;
    drop(corked);
    let total: i64 = sums.into_iter().map(|sum| sum.wait().unwrap_or(0)).sum();
    println!("64 sums, together {total}");

    match calc.factorial(100) {
        Err(error) if error.code() == ErrorCode::INTERNAL => println!("100!: {}", error.text()),
        other => println!("100! = {other:?}"),
    }
    Ok(())
}
