//! The contract of the service `calc`: what `calc_service` and `calc_client` share.
#![allow(dead_code, reason = "each of the two programs uses a part")]

use ipc_client::{AppError, Method};
use serde::{Deserialize, Serialize};

/// `calc.add`: the sum of two numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    pub(crate) a: i64,
    pub(crate) b: i64,
}

/// `calc.div`: a quotient.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Div {
    pub(crate) a: i64,
    pub(crate) b: i64,
}

/// `calc.factorial`: written without thinking of large numbers, for which it panics.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Factorial {
    pub(crate) of: u64,
}

/// Why there is no result.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum CalcError {
    #[error("division by zero")]
    DivisionByZero,
    #[error("the result does not fit 64 bits")]
    Overflow,
}

impl AppError for CalcError {
    fn code(&self) -> u8 {
        match self {
            Self::DivisionByZero => 2,
            Self::Overflow => 3,
        }
    }
}

impl Method for Add {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "add";
    type Reply = i64;
    type Error = CalcError;
}

impl Method for Div {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "div";
    type Reply = i64;
    type Error = CalcError;
}

impl Method for Factorial {
    const SERVICE: &'static str = "calc";
    const METHOD: &'static str = "factorial";
    type Reply = u64;
    type Error = CalcError;
}
