//! Durations as people write them: `200ms`, `5s`, `1m 30s`.

use std::time::Duration;

/// Parses a duration that has a unit and is longer than nothing.
///
/// A number without a unit is refused: `sleep` reads it as seconds, `ping -W` as seconds, `nc -w` as seconds, curl's
/// `--keepalive-time` too, but half of the programs people write mean milliseconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => {
            "it needs a unit, as in 200ms, 5s or 1m".to_owned()
        }
        humantime::DurationError::NumberOverflow => "it is longer than any time that can be counted".to_owned(),
        _ => "a duration is written 200ms, 5s or 1m 30s".to_owned(),
    })?;
    if duration.is_zero() {
        return Err("it must be longer than 0, as in 200ms, 5s or 1m".to_owned());
    }
    Ok(capped(duration))
}

/// A duration that can be added to any time: nothing here lives a century.
pub(crate) fn capped(duration: Duration) -> Duration {
    duration.min(Duration::from_secs(100 * 365 * 24 * 60 * 60))
}

/// A duration as a person would write it, to the millisecond.
pub(crate) fn display(duration: Duration) -> impl std::fmt::Display {
    let rounded = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    humantime::format_duration(if rounded.is_zero() { duration } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_wanted() {
        assert_eq!(parse("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(parse("5").is_err());
        assert!(parse("").is_err());
        assert!(parse("-5s").is_err());
        assert!(parse("99999999999999999999s").is_err());
    }

    #[test]
    fn a_century_is_long_enough() {
        let longest = parse("584000000000y").or_else(|_| parse("500000000000y")).unwrap();
        assert!(std::time::Instant::now().checked_add(longest).is_some());
        assert!(std::time::SystemTime::now().checked_add(longest).is_some());
    }

    #[test]
    fn nothing_is_no_duration() {
        assert!(parse("0").is_err());
        assert!(parse("0ms").is_err());
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        assert_eq!(display(Duration::from_micros(5_000_321)).to_string(), "5s");
        assert_eq!(display(Duration::from_micros(321)).to_string(), "321us");
    }
}
