//! Documents, help and comments are in plain English, without mannerisms.

use ipc_tests::{command::Command, programs::Programs};

use crate::{below, files, read, root, shown};

#[test]
fn the_documents_are_free_of_mannerisms() {
    let mut pages = files("md");
    pages.extend(["5", "7", "8"].iter().flat_map(|section| below(&root().join("dist/man"), section)));
    let found: Vec<_> = pages.iter().flat_map(|page| mannerisms(&shown(page), &read(page))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_help_is_free_of_mannerisms() {
    let help = Command::ipcctl(["--help"]).prints_text();
    let verbs: Vec<_> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  ")).map(|row| row.0).collect();
    let verbs = verbs.into_iter().filter(|verb| !verb.is_empty() && verb.bytes().all(|b| b.is_ascii_lowercase()));
    let of_verbs = verbs.map(|verb| (format!("ipcctl {verb}"), Command::ipcctl([verb, "--help"]).prints_text()));
    let of_ipcd = ("ipcd".to_owned(), Command::new(&Programs::get().ipcd, ["--help"]).prints_text());
    let errors = ("help errors".to_owned(), Command::ipcctl(["help", "errors"]).prints_text());
    let pages: Vec<_> = of_verbs.chain([("ipcctl".to_owned(), help.clone()), of_ipcd, errors]).collect();
    assert!(pages.len() > 10, "{help}");
    let found: Vec<_> = pages.iter().flat_map(|(page, text)| mannerisms(page, text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_comments_are_free_of_mannerisms() {
    let found: Vec<_> = files("rs").iter().flat_map(|file| mannerisms(&shown(file), &comments(&read(file)))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_python_package_is_free_of_mannerisms() {
    let found: Vec<_> = files("py").iter().flat_map(|file| mannerisms(&shown(file), &read(file))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The text of all line comments: on lines of their own, and after code.
fn comments(code: &str) -> String {
    let comment = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("//").or_else(|| line.split_once(" // ").map(|(_, text)| text))?;
        Some(text.trim_start_matches(['/', '!']).to_owned() + "\n")
    };
    code.lines().filter_map(comment).collect()
}

fn mannerisms(page: &str, text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let lower = text.to_ascii_lowercase();
    let places =
        MANNERISMS.iter().flat_map(|phrase| lower.match_indices(phrase).map(|(at, phrase)| (at, phrase.len())));
    let whole = places.filter(|(at, len)| !is_part_of_a_word(&lower, *at, at + len));
    whole.map(|(at, len)| format!("{page}: …{}…", around(&text, at, at + len))).collect()
}

fn is_part_of_a_word(text: &str, start: usize, end: usize) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text[..start].chars().next_back().is_some_and(is_of_word) || text[end..].chars().next().is_some_and(is_of_word)
}

/// The text with a few words on both sides.
fn around(text: &str, start: usize, end: usize) -> &str {
    let from = text[..start].rmatch_indices(' ').nth(4).map_or(0, |(at, _)| at + 1);
    let to = text[end..].match_indices(' ').nth(4).map_or(text.len(), |(at, _)| end + at);
    &text[from..to]
}

/// Phrases that no plain sentence needs: write "up to N", "the caller receives", "isn't a valid name" and so on.
const MANNERISMS: [&str; 21] = [
    "so many",
    "nobody",
    "whoever",
    "whom",
    "anybody",
    "everybody",
    "somebody",
    "hears",
    "is no service",
    "is no name",
    "is no valid",
    "is no socket",
    "it takes linux",
    "nothing but find",
    "own no",
    "shell's face",
    "shell face",
    "stands or falls",
    "as many as wanted",
    "sign of life",
    "it does without",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mannerisms_are_found_across_lines_and_as_whole_words() {
        assert_eq!(mannerisms("a", "Takes so\n  many calls.").len(), 1);
        assert_eq!(mannerisms("a", "`nobody-knows` is a name").len(), 0);
    }

    #[test]
    fn comments_are_found_on_their_own_lines_and_after_code() {
        let code = "//! Takes so\n//! many.\nlet nobody = 1; // It works.\n";
        assert_eq!(comments(code), " Takes so\n many.\nIt works.\n");
        assert_eq!(mannerisms("a", &comments(code)).len(), 1);
    }
}
