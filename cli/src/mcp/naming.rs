//! Names of tools: what clients accept is less than what a bus, or another server, allows.

use std::collections::BTreeMap;

use ipc_client::Fingerprint;

/// A name for each of `full`, in the same order: what `shorten` makes of it where that is at most `most` characters and no other full name gives
/// the same, else its beginning and 8 hex digits of the full name's hash. A name depends on the others by collision alone.
pub(crate) fn distinct(full: &[String], most: usize, shorten: impl Fn(&str) -> String) -> Vec<String> {
    let plain: Vec<String> = full.iter().map(|name| shorten(name)).collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    plain.iter().for_each(|name| *uses.entry(name).or_default() += 1);
    let distinct = |(full, plain): (&String, &String)| {
        if !plain.is_empty() && plain.chars().count() <= most && uses.get(plain.as_str()) == Some(&1) {
            return plain.clone();
        }
        let hash = Fingerprint::of(full.as_bytes()).to_string();
        let digits: String = hash.chars().take(DIGITS).collect();
        let beginning: String = plain.chars().take(most.saturating_sub(DIGITS + 1)).collect();
        format!("{beginning}_{digits}")
    };
    full.iter().zip(&plain).map(distinct).collect()
}

/// Letters, digits, `_` and `-` as they are, anything else as `_`.
pub(crate) fn plain(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' }).collect()
}

/// Digits of a hash that tell names apart.
const DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(full: &[&str]) -> Vec<String> {
        distinct(&full.iter().map(ToString::to_string).collect::<Vec<_>>(), 40, plain)
    }

    #[test]
    fn dots_become_underscores() {
        assert_eq!(names(&["calc.add", "upper"]), ["calc_add", "upper"]);
    }

    #[test]
    fn names_that_collide_or_are_too_long_end_in_a_hash() {
        let long = "a".repeat(41);
        let names = names(&["a.b", "a_b", &long, "c"]);
        assert_eq!(names[3], "c");
        assert!(names[0].starts_with("a_b_") && names[1].starts_with("a_b_") && names[0] != names[1], "{names:?}");
        assert_eq!(names[2].len(), 40);
        assert!(names[2].starts_with(&"a".repeat(31)));
    }
}
