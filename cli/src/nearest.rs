//! The name that was meant by one that there isn't.

/// The nearest of those that there are, if one is near.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    let (rate, name) = rated.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (rate > NEAR).then_some(name)
}

/// As near as clap wants names of options to be.
const NEAR: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_meant_is_near() {
        let known = ["article", "count"];
        assert_eq!(nearest("artcle", known), Some("article"));
        assert_eq!(nearest("cuont", known), Some("count"));
        assert_eq!(nearest("zzz", known), None);
        assert_eq!(nearest("", known), None);
    }
}
