//! Numbers on the command line, with their bounds.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

/// Parses a number that must lie in `bounds`.
pub(crate) fn within<T: FromStr + PartialOrd + Display>(text: &str, bounds: RangeInclusive<T>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| format!("it must be a number from {} to {}", bounds.start(), bounds.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_belong_to_the_range() {
        assert_eq!(within("1", 1..=9), Ok(1));
        assert_eq!(within("9", 1..=9), Ok(9));
    }

    #[test]
    fn anything_else_is_told_the_bounds() {
        for text in ["0", "10", "", "x", "-1", "99999999999999999999"] {
            assert_eq!(within(text, 1..=9_u16), Err("it must be a number from 1 to 9".to_owned()), "{text}");
        }
    }
}
