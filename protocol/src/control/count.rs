//! Members that count something, as the requests of the ipc service have them.

use serde::{Deserialize, Deserializer, de};

/// What a count is if it is left out.
pub(super) fn one() -> u32 {
    1
}

/// Reads a count of which 0 makes no sense: an instance without room for a call would never receive one.
pub(super) fn at_least_one<'de, D: Deserializer<'de>>(number: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(number)?;
    if number == 0 { Err(de::Error::custom("must be at least 1")) } else { Ok(number) }
}
