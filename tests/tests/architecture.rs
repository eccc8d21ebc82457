//! The rules of ARCHITECTURE.md that a compiler does not enforce. Each test lists what breaks its rule, as `file: what`.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

// ---- core is pure

#[test]
fn core_takes_nothing_from_the_world_out_of_std() {
    let of_the_world = ["io", "net", "os", "fs", "env", "thread", "process", "sync"];
    let taken = |file: &Source| named_in(&file.code, "std::", &of_the_world);
    assert_clean(&core(), taken);
}

#[test]
fn core_makes_no_system_calls() {
    assert_clean(&core(), |file| words_in(&file.code, &["nix", "rustix", "uds"]));
}

#[test]
fn core_is_told_the_time() {
    let clocks = ["Instant::now", "SystemTime"];
    assert_clean(&core(), |file| words_in(&file.code, &clocks));
}

#[test]
fn core_names_neither_front_nor_server() {
    let outer = |file: &Source| named_in(&file.code, "crate::", &["front", "server"]);
    assert_clean(&core(), outer);
}

// ---- one place for what is dangerous

#[test]
fn bincode_is_named_in_codec_alone() {
    let files = sources().into_iter().filter(|file| file.path != "protocol/src/codec.rs").collect::<Vec<_>>();
    assert_clean(&files, |file| words_in(&file.code, &["bincode::", "bincode as"]));
    assert_clean(&manifests(&["broker", "client-lib", "cli", "tests"]), |file| words_in(&file.code, &["bincode"]));
}

#[test]
fn unsafe_stands_in_one_file() {
    let files = everything().into_iter().filter(|file| file.path != FD).collect::<Vec<_>>();
    assert_clean(&files, |file| words_in(&file.code, &["unsafe", "allow(unsafe_code", "expect(unsafe_code"]));
}

#[test]
fn each_crate_root_forbids_unsafe() {
    let roots: Vec<_> = sources().into_iter().filter(Source::is_crate_root).collect();
    assert!(roots.len() >= 6, "found {} crate roots", roots.len());
    assert_clean(&roots, |file| {
        let wanted =
            if file.path == "protocol/src/lib.rs" { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        if file.code.contains(wanted) { vec![] } else { vec![format!("lacks {wanted}")] }
    });
}

#[test]
fn raw_descriptors_stand_in_one_file() {
    let files = sources().into_iter().filter(|file| file.path != FD).collect::<Vec<_>>();
    assert_clean(&files, |file| words_in(&file.code, &["RawFd"]));
}

// ---- dependencies point down

#[test]
fn protocol_depends_on_no_other_member() {
    assert_clean(&manifests(&["protocol"]), |file| depends_on(&file.code, &["ipcd", "ipc-client", "ipcctl"]));
}

#[test]
fn broker_and_client_library_never_see_each_other() {
    assert_clean(&manifests(&["broker"]), |file| depends_on(&file.code, &["ipc-client", "ipcctl"]));
    assert_clean(&manifests(&["client-lib"]), |file| depends_on(&file.code, &["ipcd", "ipcctl"]));
}

// ---- size and map

#[test]
fn no_file_is_longer_than_600_lines_apart_from_its_tests() {
    assert_clean(&sources(), |file| {
        let lines = file.text.lines().take_while(|line| *line != "mod tests {").count();
        if lines > 600 { vec![format!("{lines} lines")] } else { vec![] }
    });
}

#[test]
fn the_map_names_every_module_directory() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let directories = MEMBERS.iter().flat_map(|member| entries(&root().join(member).join("src")));
    let names =
        directories.filter(|path| path.is_dir()).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let missing: Vec<_> = names.filter(|name| words_in(&map, &[name]).is_empty()).collect();
    assert_eq!(missing, Vec::<String>::new(), "ARCHITECTURE.md does not name these directories");
}

// ---- the rules themselves are checked

#[test]
fn imports_are_found_in_groups_and_alone() {
    let code =
        "use std::{collections::{BTreeMap, fs}, io::{self, Read}}; fn f() -> std::net::IpAddr {} use substd::os;";
    assert_eq!(named_in(code, "std::", &["io", "net", "os", "fs"]), ["std::io", "std::net"]);
    assert_eq!(named_in("use crate::{\n    core::X,\n    server::Y,\n};", "crate::", &["server"]), ["crate::server"]);
}

#[test]
fn words_are_found_whole_and_outside_comments() {
    let code = without_comments("let x = 1; // unsafe\n/// unsafe\nforbid(unsafe_code) AsRawFd 'unsafe'");
    assert_eq!(words_in(&code, &["unsafe", "RawFd"]), ["unsafe"]);
    assert!(words_in("unsafe_code AsRawFd", &["unsafe", "RawFd"]).is_empty());
}

// ---- reading

/// The one file with unsafe code and raw descriptors.
const FD: &str = "protocol/src/transport/fd.rs";
const MEMBERS: [&str; 5] = ["protocol", "broker", "client-lib", "cli", "tests"];

/// A file of the work tree.
struct Source {
    /// Its path from the root of the work tree.
    path: String,
    /// All of it.
    text: String,
    /// Without its comments and without the tests at its end.
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tested = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = without_comments(tested);
        let path = path.strip_prefix(root()).expect("only files below the root are read");
        Self { path: path.display().to_string(), code, text }
    }

    /// Whether the file holds nothing but tests of the crate that it is in.
    fn is_of_tests(&self) -> bool {
        self.path.contains("/src/") && (self.path.contains("/tests/") || self.path.ends_with("/tests.rs"))
    }

    fn is_crate_root(&self) -> bool {
        let is_bin = Path::new(&self.path).parent().is_some_and(|parent| parent.ends_with("src/bin"));
        is_bin || self.path.ends_with("/src/lib.rs") || self.path.ends_with("/src/main.rs")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the workspace")
}

/// The source files of all members, without those of tests.
fn sources() -> Vec<Source> {
    let files = MEMBERS.iter().flat_map(|member| rust_files(&format!("{member}/src")));
    files.filter(|file| !file.is_of_tests()).collect()
}

/// The source files of core, without those of tests.
fn core() -> Vec<Source> {
    sources().into_iter().filter(|file| file.path.starts_with("broker/src/core/")).collect()
}

/// Every file of Rust code there is: tests, examples and benches too. This one is left out, for it names what it looks for.
fn everything() -> Vec<Source> {
    let files = MEMBERS.iter().flat_map(|member| rust_files(member));
    files.filter(|file| file.path != "tests/tests/architecture.rs").collect()
}

fn rust_files(directory: &str) -> Vec<Source> {
    let files = walk(&root().join(directory));
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| Source::read(&path))
        .collect()
}

fn manifests(members: &[&str]) -> Vec<Source> {
    members.iter().map(|member| Source::read(&root().join(member).join("Cargo.toml"))).collect()
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let below = |path: PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    entries(directory).into_iter().filter(|path| !path.ends_with("target")).flat_map(below).collect()
}

/// What is in a directory, sorted; nothing if there is no such directory.
fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

// ---- checking

/// Panics with everything that is wrong with the files.
fn assert_clean(files: &[Source], wrong: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<_> =
        files.iter().flat_map(|file| wrong(file).into_iter().map(|what| format!("{}: {what}", file.path))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Cuts line comments off, of Rust and of TOML. A `//` or `#` inside a string is cut too: no rule here looks into strings.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().filter(|line| !line.starts_with("# ")).map(code).collect()
}

/// Which of the names stand directly behind a path's root, alone (`std::io`) or in a group (`std::{fmt, io::Read}`).
fn named_in(code: &str, path_root: &str, names: &[&str]) -> Vec<String> {
    let first_segments: BTreeSet<_> = positions(code, path_root)
        .flat_map(|at| {
            let rest = &code[at + path_root.len()..];
            if rest.starts_with('{') { group(rest) } else { vec![rest] }
        })
        .map(first_word)
        .collect();
    names.iter().filter(|name| first_segments.contains(**name)).map(|name| format!("{path_root}{name}")).collect()
}

/// The members of a group of imports, which `text` starts with.
fn group(text: &str) -> Vec<&str> {
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

/// Those of `packages` that a manifest lists as a dependency: a line that starts with the name.
fn depends_on(manifest: &str, packages: &[&str]) -> Vec<String> {
    let lists = |package: &&&str| {
        let rests = manifest.lines().filter_map(|line| line.strip_prefix(**package));
        rests.into_iter().any(|rest| rest.starts_with(['.', ' ', '=']))
    };
    packages.iter().filter(lists).map(|package| (*package).to_owned()).collect()
}

/// Which of the words stand in the code as words of their own.
fn words_in(code: &str, words: &[&str]) -> Vec<String> {
    let ends = |word: &str, at: usize| {
        let behind = code[at + word.len()..].chars().next();
        !word.ends_with(is_of_word) || !behind.is_some_and(is_of_word)
    };
    let found = |word: &&&str| positions(code, word).any(|at| ends(word, at));
    words.iter().filter(found).map(|word| (*word).to_owned()).collect()
}

/// Where a text stands that is not the end of a longer word.
fn positions<'a>(code: &'a str, text: &'a str) -> impl Iterator<Item = usize> + 'a {
    let begins = |at: &usize| !code[..*at].chars().next_back().is_some_and(is_of_word);
    code.match_indices(text).map(|(at, _)| at).filter(begins)
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split(|c| !is_of_word(c)).next().unwrap_or_default()
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
