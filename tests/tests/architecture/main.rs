//! The rules of ARCHITECTURE.md that a compiler does not enforce. Each test lists the violations of its rule as `file: what`.
#![forbid(unsafe_code)]

mod modules;
mod source;

use std::{collections::BTreeSet, fs};

use modules::Crate;
use source::{
    FD, MEMBERS, Source, below, depends_on, entries, everything, manifests, named_in, root, sources, without_comments,
    words_in,
};

// ---- core is pure

#[test]
fn core_uses_nothing_of_std_that_reaches_outside() {
    let of_the_world = ["io", "net", "os", "fs", "env", "thread", "process", "sync"];
    let taken = |file: &Source| named_in(&file.code, "std::", &of_the_world);
    assert_clean(&below("broker/src/core"), taken);
}

#[test]
fn core_makes_no_system_calls() {
    assert_clean(&below("broker/src/core"), |file| words_in(&file.code, &["nix", "rustix", "uds"]));
}

#[test]
fn core_never_reads_a_clock() {
    let clocks = ["Instant::now", "SystemTime"];
    assert_clean(&below("broker/src/core"), |file| words_in(&file.code, &clocks));
}

/// A wall clock that is set forward or back by a day ends no call and lengthens none.
#[test]
fn no_deadline_depends_on_the_wall_clock() {
    let wall_clocks = ["SystemTime", "CLOCK_REALTIME", "Realtime", "gettimeofday", "UNIX_EPOCH"];
    for directory in ["broker/src", "client-lib/src", "protocol/src"] {
        assert_clean(&below(directory), |file| words_in(&file.code, &wall_clocks));
    }
}

#[test]
fn core_names_neither_front_nor_server() {
    let outer = |file: &Source| named_in(&file.code, "crate::", &["front", "server"]);
    assert_clean(&below("broker/src/core"), outer);
}

// ---- one place for each danger

#[test]
fn only_codec_names_bincode() {
    let files = sources().into_iter().filter(|file| file.path != "protocol/src/codec.rs").collect::<Vec<_>>();
    assert_clean(&files, |file| words_in(&file.code, &["bincode::", "bincode as"]));
    assert_clean(&manifests(&["broker", "client-lib", "cli", "tests"]), |file| words_in(&file.code, &["bincode"]));
}

#[test]
fn one_file_has_unsafe_code() {
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
fn one_file_has_raw_descriptors() {
    let files = sources().into_iter().filter(|file| file.path != FD).collect::<Vec<_>>();
    assert_clean(&files, |file| words_in(&file.code, &["RawFd"]));
}

// ---- dependencies point down

#[test]
fn protocol_depends_on_no_other_member() {
    assert_clean(&manifests(&["protocol"]), |file| depends_on(&file.code, &["ipcd", "ipc-client", "ipcctl"]));
}

#[test]
fn broker_and_client_library_do_not_depend_on_each_other() {
    assert_clean(&manifests(&["broker"]), |file| depends_on(&file.code, &["ipc-client", "ipcctl"]));
    // Its doc tests run with a broker, as do tests of programs that ask for it; neither is part of the library.
    let shipped = |file: &Source| {
        let shipped = file.code.split("[dev-dependencies]").next().unwrap_or_default();
        shipped.replace("ipcd = { workspace = true, optional = true }", "")
    };
    assert_clean(&manifests(&["client-lib"]), |file| depends_on(&shipped(file), &["ipcd", "ipcctl"]));
}

/// What runs in the compiler is no part of a program, and compiling it must not wait for one.
#[test]
fn macros_depend_on_no_other_member() {
    let shipped = |file: &Source| file.code.split("[dev-dependencies]").next().unwrap_or_default().to_owned();
    let members = ["ipc-protocol", "ipcd", "ipc-client", "ipcctl"];
    assert_clean(&manifests(&["client-lib/macros"]), |file| depends_on(&shipped(file), &members));
}

/// A library that pins a version cannot be built beside one that pins another.
#[test]
fn only_bincode_is_pinned() {
    let workspace = Source::read(&root().join("Cargo.toml"));
    let exact =
        |file: &Source| file.code.lines().filter(|line| line.contains("\"=")).map(str::to_owned).collect::<Vec<_>>();
    assert_clean(&manifests(&MEMBERS), exact);
    let pinned = exact(&workspace);
    assert!(pinned.len() == 1 && pinned[0].starts_with("bincode = "), "{pinned:#?}");
}

/// Who writes no async program compiles no runtime, and neither does a program of this project.
#[test]
fn without_the_feature_no_async_crate_is_compiled() {
    let of_async = |line: &&str| ["tokio", "futures", "mio", "async"].iter().any(|name| line.starts_with(name));
    for (package, features, wanted) in [("ipc-client", "", false), ("ipc-client", "tokio", true), ("ipcctl", "", false)]
    {
        let tree = tree(package, features);
        let found: Vec<_> = tree.lines().filter(of_async).collect();
        assert_eq!(!found.is_empty(), wanted, "{package} with {features:?}: {found:?}");
    }
}

/// A connected pair, which is there without the feature, needs none.
#[test]
fn without_the_feature_no_broker_is_compiled_into_the_library() {
    for (features, wanted) in [("", false), ("tokio", false), ("testing", true)] {
        let tree = tree("ipc-client", features);
        assert_eq!(tree.lines().any(|line| line.starts_with("ipcd ")), wanted, "with {features:?}: {tree}");
    }
}

#[test]
fn ipcctl_reaches_the_protocol_through_the_library() {
    assert_clean(&below("cli/src"), |file| words_in(&file.code, &["ipc_protocol"]));
}

/// From the command line down to output: a module names only modules of its own floor and of those below.
const FLOORS_OF_IPCCTL: [&[&str]; 6] = [
    &["main"],
    &["cli"],
    &["verbs"],
    &[
        "body", "cache", "call", "child", "host", "input", "lines", "link", "lookup", "pages", "pieces", "program",
        "progress", "reply", "typed", "waiting",
    ],
    &["exit", "globals", "hint", "out", "problem", "signals", "table"],
    &["duration", "escape", "format", "json", "mcp", "nearest", "number", "term"],
];

#[test]
fn modules_of_ipcctl_name_none_above_them() {
    let floor = |name: &str| FLOORS_OF_IPCCTL.iter().position(|floor| floor.contains(&name));
    let above = |file: &Source| {
        let inner = file.path.trim_start_matches("cli/src/");
        let name = inner.split(['/', '.']).next().unwrap_or_default();
        let Some(floor) = floor(name) else { return vec![format!("{name} is on no floor")] };
        let above: Vec<&str> = FLOORS_OF_IPCCTL[..floor].concat();
        named_in(&file.code, "crate::", &above)
    };
    assert_clean(&below("cli/src"), above);
    let gone = |name: &&&str| !["", ".rs"].iter().any(|end| root().join(format!("cli/src/{name}{end}")).exists());
    let gone: Vec<_> = FLOORS_OF_IPCCTL.iter().copied().flatten().filter(gone).collect();
    assert!(gone.is_empty(), "these are on a floor and not in cli/src: {gone:?}");
}

/// The command line picks a verb. The modules below are shared by all verbs and know none.
#[test]
fn only_the_command_line_of_ipcctl_names_verbs() {
    let command_line = ["cli/src/cli.rs", "cli/src/main.rs"];
    let shared = below("cli/src")
        .into_iter()
        .filter(|file| !file.path.starts_with("cli/src/verbs/") && !command_line.contains(&file.path.as_str()));
    assert_clean(&shared.collect::<Vec<_>>(), |file| named_in(&file.code, "crate::", &["verbs"]));
}

#[test]
fn files_and_directories_form_no_new_circles() {
    let circles: BTreeSet<_> = CRATES.iter().flat_map(|source| Crate::read(source, &below(source)).circles()).collect();
    let circles: BTreeSet<_> = circles.iter().map(String::as_str).collect();
    let allowed = BTreeSet::from(CIRCLES);
    let new: Vec<_> = circles.difference(&allowed).collect();
    let gone: Vec<_> = allowed.difference(&circles).collect();
    assert!(new.is_empty() && gone.is_empty(), "these name one another: {new:#?}; these no longer do: {gone:#?}");
}

/// The present circles. The list must only get shorter.
const CIRCLES: [&str; 2] =
    ["broker/src/front: inlet json mod native", "client-lib/src/link/blocking: mod reading state"];

const CRATES: [&str; 5] = ["protocol/src", "broker/src", "client-lib/src", "client-lib/macros/src", "cli/src"];

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
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
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

// ---- checking

/// Panics with the violations in all files.
/// What a package is compiled with, a line each.
fn tree(package: &str, features: &str) -> String {
    let arguments = ["tree", "--package", package, "--features", features, "--edges", "normal", "--prefix", "none"];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = std::process::Command::new(cargo)
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8_lossy(&tree.stdout).into_owned()
}

fn assert_clean(files: &[Source], wrong: impl Fn(&Source) -> Vec<String>) {
    let found: Vec<_> =
        files.iter().flat_map(|file| wrong(file).into_iter().map(|what| format!("{}: {what}", file.path))).collect();
    assert!(found.is_empty(), "{found:#?}");
}
