//! Checks the documents against the project: links, the tour, the manual pages, the workflow.
#![forbid(unsafe_code)]

mod guides;
mod links;
mod manual;
mod markdown;
mod tour;
mod words;
mod workflow;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The root of the work tree.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is a directory of the workspace")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of the work tree with an extension, sorted, without build output.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = below(root(), extension);
    assert!(!found.is_empty(), "there is no .{extension} file in {}", root().display());
    found.sort();
    found
}

fn below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("the directory can be read").path());
    let not_built = paths.filter(|path| !["target", ".git", "out"].iter().any(|name| path.ends_with(name)));
    let found = not_built.flat_map(|path| if path.is_dir() { below(&path, extension) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

/// A path relative to the root of the work tree.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
