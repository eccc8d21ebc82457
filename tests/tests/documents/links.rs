//! Every link has a target. Links to other hosts are not followed, because tests need no network.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{files, markdown, read, root, shown};

#[test]
fn every_relative_link_and_anchor_of_the_documents_exists() {
    let dead: Vec<_> = files("md").iter().flat_map(|page| dead_links(page)).collect();
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let dead: Vec<_> = files("md").iter().flat_map(|page| dead_paths(page)).collect();
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn every_file_of_the_map_exists() {
    let listed = listed_in_the_map();
    assert!(listed.len() > 40, "the map lists {} files", listed.len());
    let is_there = |path: &&PathBuf| path.exists() || path.with_extension("rs").exists();
    let dead: Vec<_> = listed.iter().filter(|path| !is_there(path)).map(|path| shown(path)).collect();
    assert!(dead.is_empty(), "ARCHITECTURE.md lists {dead:#?}");
}

#[test]
fn the_map_lists_every_file_of_its_directories() {
    let directories = tables_of_the_map();
    assert!(directories.len() > 4, "{directories:#?}");
    let missing: Vec<_> = directories.iter().flat_map(|(directory, listed)| unlisted(directory, listed)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md lacks {missing:#?}");
}

/// rustdoc checks links to items (`RUSTDOCFLAGS='-D warnings'`), but not the pages of this repository that comments name.
#[test]
fn every_page_that_a_comment_names_exists() {
    let dead: Vec<_> = files("rs").iter().flat_map(|source| dead_mentions(source)).collect();
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Rendered pages are not beside their source files, so a path relative to the file leads nowhere.
#[test]
fn no_doc_comment_links_to_a_file() {
    let sources = files("rs").into_iter().filter(|path| !path.starts_with(root().join("tests/tests/documents")));
    let found: Vec<_> = sources.flat_map(|source| file_links(&source)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

fn dead_links(page: &Path) -> Vec<String> {
    let links = markdown::links(&read(page)).into_iter().filter(|link| !is_elsewhere(link));
    links.filter(|link| !leads_somewhere(page, link)).map(|link| format!("{}: {link}", shown(page))).collect()
}

fn is_elsewhere(link: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let directory = page.parent().expect("a page is in a directory");
    let target: PathBuf = if path.is_empty() { page.to_owned() } else { directory.join(path) };
    match anchor {
        None => target.exists(),
        Some(anchor) => fs::read_to_string(target).is_ok_and(|text| markdown::anchors(&text).contains(anchor)),
    }
}

/// Inline code that begins like a path of this repository: `cli/src/verbs/`, `.ci/run`, `docs/protocol.md`.
fn dead_paths(page: &Path) -> Vec<String> {
    let text = read(page);
    let words = markdown::code(&text).into_iter().flat_map(|code| {
        code.split(' ').map(|word| word.trim_end_matches([',', '.', ':']).to_owned()).collect::<Vec<_>>()
    });
    let is_path = |word: &String| {
        let first = word.split('/').next().unwrap_or_default();
        let is_plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
        word.contains('/') && is_plain && root().join(first).exists() && !word.starts_with('/') && !is_built(word)
    };
    let dead = words.filter(is_path).filter(|path| !root().join(path).exists());
    dead.map(|path| format!("{}: {path}", shown(page))).collect()
}

fn is_built(path: &str) -> bool {
    path.starts_with("target/") || path.starts_with("dist/out")
}

fn listed_in_the_map() -> Vec<PathBuf> {
    let joined = |(directory, names): (PathBuf, Vec<String>)| {
        names.into_iter().map(move |name| directory.join(name)).collect::<Vec<_>>()
    };
    tables_of_the_map().into_iter().flat_map(joined).collect()
}

/// Directories and the entries that ARCHITECTURE.md lists for them, from the tables whose head is a path.
fn tables_of_the_map() -> Vec<(PathBuf, Vec<String>)> {
    let map = read(&root().join("ARCHITECTURE.md"));
    let first_cell = |row: &str| markdown::code(row.split('|').nth(1).unwrap_or_default());
    let listed = |table: &str| {
        let directory = table.lines().next().map(first_cell)?.into_iter().next().filter(|head| head.ends_with('/'))?;
        Some((root().join(directory), table.lines().skip(1).flat_map(first_cell).collect()))
    };
    map.split("\n\n").filter(|paragraph| paragraph.starts_with('|')).filter_map(listed).collect()
}

/// Entries of a directory that a table does not list. Roots of modules and tests need no line.
fn unlisted(directory: &Path, listed: &[String]) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let stems = entries.flatten().filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()));
    let needs_a_line = |stem: &String| !["mod", "lib", "main", "tests"].contains(&stem.as_str());
    let is_listed = |stem: &String| listed.iter().any(|name| name.split('/').next() == Some(stem));
    let missing = stems.filter(|stem| needs_a_line(stem) && !is_listed(stem));
    missing.map(|stem| format!("{}/{stem}", shown(directory))).collect()
}

fn dead_mentions(source: &Path) -> Vec<String> {
    let text = read(source);
    let mentions =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-#".contains(c))).filter_map(page_and_anchor);
    let dead = mentions.filter(|(page, anchor)| match anchor {
        None => !root().join(page).exists(),
        Some(anchor) => !fs::read_to_string(root().join(page)).is_ok_and(|t| markdown::anchors(&t).contains(*anchor)),
    });
    dead.map(|(page, anchor)| format!("{}: {page} {anchor:?}", shown(source))).collect()
}

/// Splits a word like `docs/protocol.md#header` into page and anchor.
fn page_and_anchor(word: &str) -> Option<(&str, Option<&str>)> {
    let (page, rest) = word.split_at(word.find(".md")? + 3);
    let is_of_the_root = page.starts_with("docs/") || page.chars().next()?.is_ascii_uppercase();
    let anchor = rest.strip_prefix('#').map(|anchor| anchor.trim_end_matches('.'));
    is_of_the_root.then_some((page, anchor))
}

fn file_links(source: &Path) -> Vec<String> {
    let text = read(source);
    let comments = text.lines().map(str::trim).filter(|line| line.starts_with("///") || line.starts_with("//!"));
    let links = markdown::links(&comments.collect::<Vec<_>>().join("\n"));
    let to_files = links.into_iter().filter(|link| !is_elsewhere(link) && (link.contains('/') || link.contains(".md")));
    to_files.map(|link| format!("{}: {link}", shown(source))).collect()
}
