//! The part of Markdown that the documents use: headings, links, code.

use std::collections::{BTreeMap, BTreeSet};

/// A fenced block of code.
pub(crate) struct Block {
    /// The word after the fence: `sh`, `rust`, or nothing.
    pub(crate) language: String,
    pub(crate) text: String,
}

/// The lines outside fenced blocks, and the blocks.
pub(crate) fn split(text: &str) -> (Vec<&str>, Vec<Block>) {
    let (mut prose, mut blocks) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => open = Some(Block { language: language.trim().to_owned(), text: String::new() }),
            (None, None) => prose.push(line),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text.extend([line, "\n"]),
        }
    }
    assert!(open.is_none(), "a block of code is not closed");
    (prose, blocks)
}

/// The anchors of a page, as forges derive them from headings.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::new();
    let headings = split(text).0.into_iter().filter(|line| line.starts_with('#'));
    let slugs = headings.map(|line| slug(line.trim_start_matches('#').trim()));
    slugs
        .map(|slug| {
            let count = seen.entry(slug.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of inline links, `[text](target)`, outside inline code.
pub(crate) fn links(text: &str) -> Vec<String> {
    let prose = split(text).0.into_iter().map(without_code).collect::<Vec<_>>().join("\n");
    let targets = prose.match_indices("](").map(|(at, _)| &prose[at + 2..]);
    targets.filter_map(|rest| Some(rest[..rest.find(')')?].trim().to_owned())).collect()
}

/// The inline code of the prose, between two backticks on one line.
pub(crate) fn code(text: &str) -> Vec<String> {
    let spans = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    split(text).0.into_iter().flat_map(spans).collect()
}

/// A line without its inline code.
pub(crate) fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_become_anchors() {
        let page = "# The `ipc` service\n## A, b: c\n## A, b: c\n```\n# no heading\n```\n";
        assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), ["a-b-c", "a-b-c-1", "the-ipc-service"]);
    }

    #[test]
    fn links_are_found_outside_code() {
        let page = "[a](b.md#c) and `[x](y)`, [two\nlines](d.md)\n```\n[n](o)\n```\n";
        assert_eq!(links(page), ["b.md#c", "d.md"]);
    }

    #[test]
    fn code_is_found_in_prose() {
        assert_eq!(code("see `a/b.rs` and `c`\n```\n`d`\n```"), ["a/b.rs", "c"]);
    }
}
