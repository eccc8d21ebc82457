# Shortcuts for https://just.systems. Everything here is one command that works without just.

# List the recipes
default:
    @just --list

# The first look: a broker, services and calls
hello:
    cargo run --release --bin ipcctl -- run examples/hello.sh

# Everything that must hold before a change is taken
check *STEPS:
    .ci/run {{STEPS}}

# Tests, all of them or those of a package: just test -p ipc-client
test *ARGS:
    cargo test --locked {{ if ARGS == "" { "--workspace" } else { ARGS } }}

# Kill, stop and starve everything at random: just chaos --seconds 600 --seed 1
chaos *ARGS:
    cargo run --release -p ipc-tests --bin chaos -- {{ARGS}}

# Format the code
format:
    cargo fmt --all

# The figures of docs/performance.md
bench *ARGS:
    cargo bench -p ipc-tests -- {{ARGS}}

# A minute of fuzzing for each target (needs nightly)
fuzz:
    .ci/run fuzz

# The release archive, in dist/out
dist:
    dist/build.sh
