//! The programs under test. Each test process builds them once, with its own profile and into its own target directory.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The paths of the programs.
#[derive(Debug)]
pub struct Programs {
    /// The directory of `ipcd` and `ipcctl`, first in the PATH of the commands under test.
    pub directory: PathBuf,
    /// The daemon.
    pub ipcd: PathBuf,
    /// The command-line tool.
    pub ipcctl: PathBuf,
}

impl Programs {
    /// The programs in `$IPCD_TEST_PROGRAMS`, or else those that cargo builds now.
    pub fn get() -> &'static Self {
        static PROGRAMS: OnceLock<Programs> = OnceLock::new();
        PROGRAMS.get_or_init(|| {
            Self::in_directory(std::env::var_os("IPCD_TEST_PROGRAMS").map_or_else(build, PathBuf::from))
        })
    }

    /// The test's own PATH, preceded by the programs.
    #[must_use]
    pub fn search_path(&self) -> OsString {
        let mut path = self.directory.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// The path of one of the client library's examples.
    #[must_use]
    pub fn example(&self, name: &str) -> PathBuf {
        if ASYNC_EXAMPLES.contains(&name) {
            static BUILT: OnceLock<()> = OnceLock::new();
            BUILT.get_or_init(build_async_examples);
        } else {
            assert!(EXAMPLES.contains(&name), "{name} is not built");
        }
        self.directory.join("examples").join(name)
    }

    fn in_directory(directory: PathBuf) -> Self {
        Self { ipcd: directory.join("ipcd"), ipcctl: directory.join("ipcctl"), directory }
    }
}

/// Builds everything that a test may start. Cargo locks the directory, so test processes don't interfere. The members are those of
/// `cargo test --workspace`, so that no dependency is built again with other features.
fn build() -> PathBuf {
    let examples = EXAMPLES.iter().flat_map(|example| ["--example", example]);
    build_with(&[&["--bins"], &*examples.collect::<Vec<_>>()].concat())
}

/// Builds the examples that need the runtime tokio. Of the members only the client library is built again for it; no program has it.
fn build_async_examples() {
    if std::env::var_os("IPCD_TEST_PROGRAMS").is_none() {
        let examples = ASYNC_EXAMPLES.iter().flat_map(|example| ["--example", example]);
        build_with(&[&["--features", "ipc-client/tokio"], &*examples.collect::<Vec<_>>()].concat());
    }
}

/// Builds what the arguments of cargo say, and tells where.
fn build_with(what: &[&str]) -> PathBuf {
    let profile_directory = profile_directory();
    let above = profile_directory.parent().expect("a profile's directory is in the target directory");
    let is_target_directory = above.join("CACHEDIR.TAG").exists();
    let target_directory = if is_target_directory { above } else { above.parent().unwrap_or(above) };
    let profile = match name_of(&profile_directory) {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--workspace", "--profile", &profile]).args(what);
    command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(target_directory);
    if !is_target_directory {
        command.args(["--target", name_of(above)]);
    }
    let status = command.status().expect("cargo runs this test");
    assert!(status.success(), "the programs under test do not compile: {status}");
    profile_directory
}

/// The directory `TARGET/[TRIPLE/]PROFILE`. A test program is one level further down, in `deps`.
fn profile_directory() -> PathBuf {
    let own = std::env::current_exe().expect("/proc is mounted");
    let directory = own.parent().expect("a program is in a directory");
    let is_test = name_of(directory) == "deps";
    if is_test { directory.parent().unwrap_or(directory) } else { directory }.to_owned()
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("cargo names its directories in ASCII")
}

/// The client library's examples.
const EXAMPLES: [&str; 8] = ["calc_service", "calc_client", "chat", "kv", "metrics", "queue", "sensor", "store"];
/// Those of them that need the runtime tokio.
const ASYNC_EXAMPLES: [&str; 2] = ["async_chat", "async_first"];
