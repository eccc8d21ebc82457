//! The directory of a socket: created if it is missing, and refused if users other than root and the broker's own could replace its
//! entries. This includes every directory and link on the way, because a user who can rename one decides what is below it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Metadata},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{self, Component, Path, PathBuf},
};

use super::path_error::{Flaw, PathError, failed};

/// Why a directory isn't used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another user could replace its entries.
    #[error("{}: {flaw}; the socket would not be safe there", path.display())]
    Unsafe {
        /// The directory: the socket's own, or one on the way to it.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A system call failed.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Creates and checks the parent directory of `path`.
pub(crate) fn prepare(path: &Path) -> Result<(), DirectoryError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
    let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
    made.map_err(failed("create the directory", directory))?;
    let own = rustix::process::geteuid().as_raw();
    let end = walk(directory, own)?;
    check(directory, &look(&end)?, &[own, ROOT])
}

/// Follows a path as the kernel does, checks each step, and returns where it ends.
fn walk(directory: &Path, own: u32) -> Result<PathBuf, DirectoryError> {
    let absolute = path::absolute(directory).map_err(failed("look at the directory", directory))?;
    let mut at = PathBuf::from("/");
    // In a user namespace that doesn't map root, root's directories appear to belong to the overflow user (user_namespaces(7)). The
    // owner of the root directory could replace everything below it anyway.
    let trusted = [own, ROOT, look(&at)?.uid()];
    let mut ahead = steps(&absolute);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(step);
        let metadata = look(&next)?;
        check(&next, &metadata, &trusted)?;
        if !metadata.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(failed("follow the links of", directory)(rustix::io::Errno::LOOP.into()).into());
        }
        let target = fs::read_link(&next).map_err(failed("read the link", &next))?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        ahead.extend(steps(&target));
    }
    Ok(at)
}

/// The components of a path, last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let step = |component: Component<'_>| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}

fn look(path: &Path) -> Result<Metadata, PathError> {
    fs::symlink_metadata(path).map_err(failed("look at the directory", path))
}

fn check(path: &Path, metadata: &Metadata, trusted: &[u32]) -> Result<(), DirectoryError> {
    let refuse = |flaw| Err(DirectoryError::Unsafe { path: path.to_owned(), flaw });
    if !trusted.contains(&metadata.uid()) {
        return refuse(Flaw::Owner(metadata.uid()));
    }
    const STICKY: u32 = 0o1000; // in a sticky directory like /tmp only owners rename and remove files
    if !metadata.is_symlink() && metadata.mode() & 0o022 != 0 && metadata.mode() & STICKY == 0 {
        return refuse(Flaw::Mode(metadata.mode() & 0o7777));
    }
    Ok(())
}

const ROOT: u32 = 0;
/// The number of links that the kernel follows in one path (MAXSYMLINKS).
const LINKS: u32 = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The directory at fault, and its mode.
    fn blamed(path: &Path) -> (PathBuf, u32) {
        match prepare(path).unwrap_err() {
            DirectoryError::Unsafe { path, flaw: Flaw::Mode(mode) } => (path, mode),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused_unless_it_is_sticky() {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o777);
        assert_eq!(blamed(&directory.path().join("s")), (directory.path().to_owned(), 0o777));
        set_mode(directory.path(), 0o1777);
        prepare(&directory.path().join("s")).unwrap();
    }

    #[test]
    fn a_directory_below_one_that_others_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");
        prepare(&below.join("s")).unwrap();
        set_mode(directory.path(), 0o777);
        assert_eq!(blamed(&below.join("s")), (directory.path().to_owned(), 0o777));
    }

    #[test]
    fn what_a_link_leads_through_is_checked() {
        let directory = tempfile::tempdir().unwrap();
        let (open, link) = (directory.path().join("open"), directory.path().join("link"));
        fs::create_dir_all(open.join("private")).unwrap();
        symlink("open/private", &link).unwrap();
        prepare(&link.join("s")).unwrap();
        set_mode(&open, 0o777);
        assert_eq!(blamed(&link.join("s")), (open, 0o777));
    }

    #[test]
    fn links_that_lead_nowhere_end() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink("link", &link).unwrap();
        assert!(matches!(prepare(&link.join("s")), Err(DirectoryError::Path(_))));
    }
}
