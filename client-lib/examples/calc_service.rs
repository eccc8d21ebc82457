//! A typed service: `calc`, with a method that is done at once, one with an error of its own, and one that may panic.
//!
//! ```text
//! ipcctl run -- sh -c 'calc_service & ipcctl send --wait=5s calc.add a:=1 b:=2'
//! ```
#![forbid(unsafe_code)]

mod calc;

use std::process::ExitCode;

use calc::{Calc, CalcError};
use ipc_client::Context;

struct Calculator;

impl Calc for Calculator {
    fn add(&self, a: i64, b: i64) -> Result<i64, CalcError> {
        a.checked_add(b).ok_or(CalcError::Overflow)
    }

    fn div(&self, context: &Context, a: i64, b: i64) -> Result<i64, CalcError> {
        if b == 0 {
            eprintln!("uid {} divides by zero", context.caller().identity.uid);
            return Err(CalcError::DivisionByZero);
        }
        a.checked_div(b).ok_or(CalcError::Overflow)
    }

    fn factorial(&self, of: u64) -> u64 {
        let times = |product: u64, n| product.checked_mul(n).expect("a factorial fits 64 bits");
        (1..=of).fold(1, times)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> ipc_client::Result<()> {
    Calculator.into_service().threads(2).window(64).run()
}
