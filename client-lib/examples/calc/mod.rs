//! The contract of the service `calc`: what `calc_service` and `calc_client` share.

use ipc_client::{AppError, Context};
use serde::{Deserialize, Serialize};

/// Sums, quotients and factorials.
#[ipc_client::service(name = "calc")]
pub(crate) trait Calc {
    /// The sum of two numbers.
    #[quick]
    fn add(&self, a: i64, b: i64) -> Result<i64, CalcError>;
    /// A quotient.
    fn div(&self, context: &Context, a: i64, b: i64) -> Result<i64, CalcError>;
    /// Written without thinking of large numbers, for which it panics.
    fn factorial(&self, of: u64) -> u64;
}

/// Why there is no result.
#[derive(Debug, PartialEq, Serialize, Deserialize, AppError)]
pub(crate) enum CalcError {
    #[code = 2]
    #[text = "division by zero"]
    DivisionByZero,
    #[code = 3]
    #[text = "the result does not fit 64 bits"]
    Overflow,
}
