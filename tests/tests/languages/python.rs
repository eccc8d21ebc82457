//! The tests of the Python package, on the programs of this build.

use std::{path::Path, time::Duration};

use ipc_tests::{
    broker::{can, skip},
    command::Command,
    programs::Programs,
};

/// They take 25 s on a busy machine, and minutes on an overloaded one.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn the_tests_of_the_python_package_pass() {
    if !can("python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'") {
        return;
    }
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("python");
    let command = Command::new("python3", ["-B", "-m", "unittest", "discover", "tests"]).directory(&package);
    let command = command.env("PYTHONPATH", "src").env("IPCD_BIN", &Programs::get().directory).patience(PATIENCE);
    let finished = command.run();
    assert_eq!(finished.code, 0, "{}{}", finished.stdout(), finished.stderr);
    if finished.stderr.contains("skipped=") {
        skip("some tests of the Python package need tools: .ci/run python installs them");
    }
}
