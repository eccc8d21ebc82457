//! Descriptions of services, kept between runs: one file each, named by its fingerprint, below `$XDG_CACHE_HOME/ipcctl`.
//!
//! Nothing depends on it: what can't be read or written isn't there.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ipc_client::{Description, Fingerprint};

/// What is known under a fingerprint.
pub(crate) fn read(fingerprint: Fingerprint) -> Option<Description> {
    let path = directory()?.join(format!("{fingerprint}.json"));
    let len = fs::metadata(&path).ok()?.len();
    if len > MOST_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whether anything is known at all.
pub(crate) fn is_empty() -> bool {
    let entries = directory().and_then(|directory| fs::read_dir(directory).ok());
    entries.is_none_or(|mut entries| entries.next().is_none())
}

/// Keeps a description.
pub(crate) fn keep(fingerprint: Fingerprint, description: &Description) {
    if let Some(directory) = directory() {
        drop(store(&directory, fingerprint, description));
    }
}

fn store(directory: &Path, fingerprint: Fingerprint, description: &Description) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    make_room(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(description)?)?;
    file.persist(directory.join(format!("{fingerprint}.json"))).map_err(|error| error.error)?;
    Ok(())
}

/// Removes the oldest if there are too many.
fn make_room(directory: &Path) -> std::io::Result<()> {
    let aged = |entry: fs::DirEntry| {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        (age, entry.path())
    };
    let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(directory)?.flatten().map(aged).collect();
    files.sort();
    let surplus = files.len().saturating_sub(MOST_FILES - 1);
    files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

/// As the XDG Base Directory specification has it: a path that isn't absolute doesn't count.
fn directory() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("ipcctl"))
}

/// Longer ones aren't read back.
const MOST_BYTES: u64 = 4 << 20;
/// Descriptions that are kept.
const MOST_FILES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..MOST_FILES + 3 {
            store(directory.path(), Fingerprint(number as u64), &Description::default()).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), MOST_FILES);
    }
}
