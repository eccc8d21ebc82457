//! The files of the work tree, and searches in them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The one file with unsafe code and raw descriptors.
pub(crate) const FD: &str = "protocol/src/transport/fd.rs";
pub(crate) const MEMBERS: [&str; 6] = ["protocol", "broker", "client-lib", "client-lib/macros", "cli", "tests"];

/// A file of the work tree.
pub(crate) struct Source {
    /// Its path from the root of the work tree.
    pub(crate) path: String,
    /// The whole text.
    pub(crate) text: String,
    /// Without its comments and without the tests at its end.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tested = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = without_comments(tested);
        let path = path.strip_prefix(root()).expect("only files below the root are read");
        Self { path: path.display().to_string(), code, text }
    }

    /// Whether the file contains only tests of its own crate.
    pub(crate) fn is_of_tests(&self) -> bool {
        self.path.contains("/src/") && (self.path.contains("/tests/") || self.path.ends_with("/tests.rs"))
    }

    pub(crate) fn is_crate_root(&self) -> bool {
        let is_bin = Path::new(&self.path).parent().is_some_and(|parent| parent.ends_with("src/bin"));
        is_bin || self.path.ends_with("/src/lib.rs") || self.path.ends_with("/src/main.rs")
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the workspace")
}

/// The source files of all members, without tests.
pub(crate) fn sources() -> Vec<Source> {
    let files = MEMBERS.iter().flat_map(|member| rust_files(&format!("{member}/src")));
    files.filter(|file| !file.is_of_tests()).collect()
}

/// The source files below a directory, without tests.
pub(crate) fn below(directory: &str) -> Vec<Source> {
    let files: Vec<_> = rust_files(directory).into_iter().filter(|file| !file.is_of_tests()).collect();
    assert!(!files.is_empty(), "{directory} has no source files");
    files
}

/// All files of Rust code, with tests, examples and benches. These rules are left out, because they contain what they look for.
pub(crate) fn everything() -> Vec<Source> {
    let files = MEMBERS.iter().flat_map(|member| rust_files(member));
    files.filter(|file| !file.path.starts_with("tests/tests/architecture/")).collect()
}

pub(crate) fn rust_files(directory: &str) -> Vec<Source> {
    let files = walk(&root().join(directory));
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| Source::read(&path))
        .collect()
}

pub(crate) fn manifests(members: &[&str]) -> Vec<Source> {
    members.iter().map(|member| Source::read(&root().join(member).join("Cargo.toml"))).collect()
}

pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    entries(directory).into_iter().filter(|path| !path.ends_with("target")).flat_map(below).collect()
}

/// The entries of a directory, sorted. Panics if it cannot be read: a rule that cannot look must not pass.
pub(crate) fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
}

/// Removes line comments of Rust and TOML. This also cuts a `//` or `#` in a string, but no rule looks into strings.
pub(crate) fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().filter(|line| !line.starts_with("# ")).map(code).collect()
}

/// Those of the names that follow a path's root, alone (`std::io`) or in a group (`std::{fmt, io::Read}`).
pub(crate) fn named_in(code: &str, path_root: &str, names: &[&str]) -> Vec<String> {
    let first_segments: BTreeSet<_> = positions(code, path_root)
        .flat_map(|at| {
            let rest = &code[at + path_root.len()..];
            if rest.starts_with('{') { group(rest) } else { vec![rest] }
        })
        .map(first_word)
        .collect();
    names.iter().filter(|name| first_segments.contains(**name)).map(|name| format!("{path_root}{name}")).collect()
}

/// The members of the group of imports that `text` begins with.
pub(crate) fn group(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0_usize, 1, Vec::new());
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => {
                members.push(&text[start..at]);
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 1 => {
                members.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

/// Those of `packages` that a manifest lists as a dependency, in a line that begins with the name.
pub(crate) fn depends_on(manifest: &str, packages: &[&str]) -> Vec<String> {
    let lists = |package: &&&str| {
        let rests = manifest.lines().filter_map(|line| line.strip_prefix(**package));
        rests.into_iter().any(|rest| rest.starts_with(['.', ' ', '=']))
    };
    packages.iter().filter(lists).map(|package| (*package).to_owned()).collect()
}

/// Those of the words that the code contains as whole words.
pub(crate) fn words_in(code: &str, words: &[&str]) -> Vec<String> {
    let ends = |word: &str, at: usize| {
        let behind = code[at + word.len()..].chars().next();
        !word.ends_with(is_of_word) || !behind.is_some_and(is_of_word)
    };
    let found = |word: &&&str| positions(code, word).any(|at| ends(word, at));
    words.iter().filter(found).map(|word| (*word).to_owned()).collect()
}

/// The position of a text that is not the end of a longer word.
pub(crate) fn positions<'a>(code: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let begins = |at: &usize| !code[..*at].chars().next_back().is_some_and(is_of_word);
    code.match_indices(text).map(|(at, _)| at).filter(begins)
}

pub(crate) fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split(|c| !is_of_word(c)).next().unwrap_or_default()
}

pub(crate) fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
