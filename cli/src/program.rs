//! A command to run: looked up once, before anything depends on it.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::{
    child::recipe::{Recipe, SpawnError},
    problem::{Problem, Result},
};

/// Where execvp(3) looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program that exists, and its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds the program of a command line as execvp(3) would. Exits are those of env(1): 127 when there is no such program, 126
    /// when it cannot be executed.
    pub(crate) fn find(command: &[OsString], subject: &str) -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        Self::find_in(command, &path, subject)
    }

    fn find_in(command: &[OsString], path: &OsStr, subject: &str) -> Result<Self> {
        let (name, arguments) = command.split_first().ok_or_else(|| Problem::usage(subject, "which command?"))?;
        let found = |path| Self { path, name: name.clone(), arguments: arguments.to_vec() };
        let mut refused = None;
        for candidate in candidates(name, path) {
            match suitability(&candidate) {
                Suitability::Runs => return Ok(found(candidate)),
                Suitability::CannotRun => refused = refused.or(Some(candidate)),
                Suitability::Absent => {}
            }
        }
        let problem = match refused {
            Some(path) => {
                Problem::own("not_executable", 126, subject, format!("{} {}", path.display(), objection(&path)))
            }
            None if name.is_empty() => Problem::own("not_found", 127, subject, "the command is an empty string"),
            None => Problem::own("not_found", 127, subject, format!("there is no command {}", name.display())),
        };
        Err(problem.not_run())
    }

    /// The command line, ready for what else it needs.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe::new(&self.path, std::iter::once(&self.name).chain(&self.arguments).cloned().collect())
    }

    /// Why it didn't start. It was found before: what the kernel doesn't find now is the interpreter that its first line or its ELF
    /// header names.
    pub(crate) fn cannot_run(&self, error: &SpawnError, subject: &str) -> Problem {
        let (name, exit) = match error {
            SpawnError::Host { .. } => ("failed", 125),
            SpawnError::Program(error) if error.kind() == io::ErrorKind::NotFound => ("not_found", 127),
            SpawnError::Program(error) if error.kind() == io::ErrorKind::WouldBlock => ("failed", 125),
            SpawnError::Program(_) => ("not_executable", 126),
        };
        Problem::own(name, exit, subject, format!("cannot run {}: {error}", self.name()))
    }

    /// The name it was called by.
    pub(crate) fn name(&self) -> std::ffi::os_str::Display<'_> {
        self.name.display()
    }
}

/// Why a file that is there does not run.
fn objection(path: &Path) -> &'static str {
    if path.is_dir() { "is a directory, not a command" } else { "cannot be executed: its mode doesn't allow it" }
}

enum Suitability {
    Runs,
    CannotRun,
    Absent,
}

fn candidates(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    if name.is_empty() {
        return Vec::new();
    }
    env::split_paths(path)
        .map(|directory| if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory })
        .map(|directory| directory.join(name))
        .collect()
}

fn suitability(path: &Path) -> Suitability {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() && access(path, Access::EXEC_OK).is_ok() => Suitability::Runs,
        Ok(_) => Suitability::CannotRun,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Suitability::CannotRun,
        Err(_) => Suitability::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn find(name: &str, path: &str) -> Result<Program> {
        Program::find_in(&[name.into(), "x".into()], path.as_ref(), "serve")
    }

    #[test]
    fn a_program_is_found_in_the_path() {
        let empty = tempfile::tempdir().unwrap();
        let program = find("sh", &format!("{}:/bin", empty.path().display())).unwrap();
        assert_eq!(program.path, Path::new("/bin/sh"));
        assert_eq!((program.name, program.arguments), ("sh".into(), vec!["x".into()]));
        assert_eq!(find("/bin/sh", "").unwrap().path, Path::new("/bin/sh"));
    }

    #[test]
    fn what_is_not_there_is_127() {
        assert_eq!(find("no-such-program", "/bin").unwrap_err().exit(), Exit::Code(127));
        assert_eq!(find("/bin/no-such-program", "").unwrap_err().exit(), Exit::Code(127));
        assert_eq!(find("", "/bin").unwrap_err().exit(), Exit::Code(127));
    }

    #[test]
    fn what_cannot_be_executed_is_126() {
        assert_eq!(find("/etc/passwd", "").unwrap_err().exit(), Exit::Code(126));
        assert_eq!(find("/tmp", "").unwrap_err().exit(), Exit::Code(126));
        assert_eq!(find("passwd", "/etc").unwrap_err().exit(), Exit::Code(126));
    }
}
