//! A typed service: `calc`, with a method that is done at once, one with an error of its own, and one that may panic.
//!
//! ```text
//! ipcctl run -- sh -c 'calc_service & ipcctl send --wait=5s calc.add a:=1 b:=2'
//! ```
#![forbid(unsafe_code)]

mod calc;

use calc::{Add, CalcError, Div, Factorial};
use ipc_client::{Context, Failed, Service};

fn main() -> ipc_client::Result<()> {
    Service::new("calc").threads(2).window(64).quick(add).method(div).method(factorial).run()
}

fn add(request: Add, _context: &Context) -> Result<i64, Failed<CalcError>> {
    Ok(request.a.checked_add(request.b).ok_or(CalcError::Overflow)?)
}

fn div(request: Div, context: &Context) -> Result<i64, Failed<CalcError>> {
    if request.b == 0 {
        eprintln!("uid {} divides by zero", context.caller().identity.uid);
        return Err(CalcError::DivisionByZero.into());
    }
    Ok(request.a.checked_div(request.b).ok_or(CalcError::Overflow)?)
}

fn factorial(request: Factorial, _context: &Context) -> Result<u64, Failed<CalcError>> {
    let times = |product: u64, n| product.checked_mul(n).expect("a factorial fits 64 bits");
    Ok((1..=request.of).fold(1, times))
}
