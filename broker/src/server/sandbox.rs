//! The sandbox of a broker that has a process to itself: Landlock for files, networks, abstract sockets and signals, seccomp for system
//! calls. There is no way out of it. The library never enters it by itself, because the program around a broker may have other plans.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictSelfAttr, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::syscalls;

/// What a broker needs once its sockets are bound.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The directory of its socket files, which are bound again if they are removed.
    pub(crate) directory: Option<PathBuf>,
    /// The configuration file, which HUP reads again.
    pub(crate) config: Option<PathBuf>,
    /// Whether it answers datagrams, at abstract addresses.
    pub(crate) answers_datagrams: bool,
}

/// A part of the sandbox that this kernel, or a sandbox around it, does not allow. Displays as a line of the log.
#[derive(Debug)]
pub struct Gap {
    /// `landlock` or `seccomp`.
    part: &'static str,
    reason: String,
}

impl Sandbox {
    /// Enters the sandbox, as far as the kernel has one, and returns what is missing. Call it before the process has a second thread:
    /// before Linux 7.0, Landlock applies to the calling thread and to those that it starts later.
    ///
    /// From here on an unlisted system call kills the process (SIGSYS).
    #[must_use]
    pub fn enter(&self) -> Vec<Gap> {
        // The filter comes last, because it doesn't allow Landlock's system calls.
        let landlock = self.restrict().err().map(|reason| Gap { part: "landlock", reason });
        let seccomp = syscalls::restrict().err().map(|reason| Gap { part: "seccomp", reason });
        landlock.into_iter().chain(seccomp).collect()
    }

    fn restrict(&self) -> Result<(), String> {
        match self.restrict_by_landlock() {
            Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
            Ok(RulesetStatus::NotEnforced) => Err("this kernel does not have it, or it is not enabled".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn restrict_by_landlock(&self) -> Result<RulesetStatus, RulesetError> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(self.scopes())?
            .create()?;
        for (path, access) in self.rules() {
            // What isn't there can't be used either.
            if let Ok(beneath) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(beneath, access))?;
            }
        }
        Ok(ruleset.all_threads(true)?.restrict_self()?.ruleset)
    }

    /// A connected socket is out of scope: the service manager's is connected before. Answers to datagrams go to sockets that aren't, at
    /// addresses of processes outside.
    fn scopes(&self) -> BitFlags<Scope> {
        if self.answers_datagrams { Scope::Signal.into() } else { Scope::from_all(KNOWN) }
    }

    fn rules(&self) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
        let mut rules = vec![(PathBuf::from("/dev/null"), AccessFs::ReadFile.into())]; // a descriptor in reserve
        if let Some(directory) = &self.directory {
            // The lock file is made, locked, cut and written. A stale socket is tried, removed and replaced.
            let lock = AccessFs::MakeReg | AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
            let sockets = AccessFs::MakeSock | AccessFs::RemoveFile | AccessFs::ResolveUnix;
            rules.push((directory.clone(), lock | sockets));
        }
        if let Some(config) = &self.config {
            // Editors replace a file instead of writing to it, and a rule for the file would not hold for the new one.
            rules.push((directory_of(config), AccessFs::ReadFile.into()));
            let target = config.canonicalize().map(|target| directory_of(&target));
            rules.extend(target.map(|directory| (directory, AccessFs::ReadFile.into())));
        }
        rules
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event=sandbox_incomplete missing={} reason={:?}", self.part, self.reason)
    }
}

/// The directory that a path is in, as a path that can be opened.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The newest version of Landlock whose rights are known here. An older kernel enforces those of its own version.
const KNOWN: ABI = ABI::V9;
