#!/bin/sh
# A first look at ipcd: a shell service, a Rust service, and calls to both. Run it from the root of the project:
#
#   cargo run --release --bin ipcctl -- run examples/hello.sh
#
# 'ipcctl run' gives this script a broker of its own, puts ipcctl into its PATH, and ends what the script leaves running.
set -eu
exec 2>&1 # errors appear in their place, also when this is piped

say() { printf '\n# %s\n' "$*"; }
show() { printf '$ %s\n' "$1"; eval "$1"; }

say "Building calc_service, a typed service."
cargo build --quiet --release -p ipc-client --example calc_service
PATH=${CARGO_TARGET_DIR:-target}/release/examples:$PATH

say "Any command can be a service: standard input is the request, standard output the reply."
show "ipcctl serve upper -- tr a-z A-Z &"
show "ipcctl send -n --wait=10s upper 'hello, world'"

say "Typed services are written in Rust (client-lib/examples/calc_service.rs)."
show "calc_service &"
show "ipcctl send --wait=10s calc.add a:=1 b:=2"
show "ipcctl send calc.add '{\"a\": 20, \"b\": 22}'"

say "Many calls on one connection: a line in, a line out."
show "printf 'one\ntwo\nthree\n' | ipcctl send upper --lines -"

say "A failure has a name and an exit code, and says whether a retry is safe."
show "ipcctl send calc.div a:=1 b:=0 || echo \"exit code \$?\""
show "ipcctl send calc.add a:=1 || echo \"exit code \$?\""
show "ipcctl send no-such-name || echo \"exit code \$?\""

say "Who is there?"
show "ipcctl list"
show "ipcctl peers"
