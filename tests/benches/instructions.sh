#!/usr/bin/env bash
# Counts the instructions that the broker spends on a call, with 64 calls outstanding and with one. Requires valgrind.
#
#   tests/benches/instructions.sh              prints both figures
#   tests/benches/instructions.sh --top DIR    also writes the profiles DIR/profile-window64.txt and DIR/profile-lone.txt
#
# The count does not depend on the machine's clock or its load, so one run before and one after a change show the cost of the
# change. Each figure is the difference of two runs of different length, which cancels what the broker does only once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

top=
case ${1-} in
'') ;;
--top) top=$(realpath "${2:?--top needs a directory}") ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac

cargo build --quiet --release --package ipcd --bin ipcd
cargo build --quiet --release --package ipc-tests --bin calls
programs=${CARGO_TARGET_DIR:-target}/release
directory=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill -KILL "$broker"; rm -rf "$directory"' EXIT

# profile METRIC CALLS FILE: a broker under callgrind serves CALLS calls and writes its profile to FILE. Everything shares one CPU,
# so that the number of calls in a turn of the broker hardly varies.
profile() {
    local socket=$directory/socket
    : >"$directory/ready" # may hold the previous broker's line
    taskset --cpu-list 0 valgrind --quiet --tool=callgrind --instr-atstart=yes --callgrind-out-file="$3" \
        "$programs/ipcd" --socket "$socket" --no-datagram --no-sandbox >"$directory/ready" &
    broker=$!
    until grep -q ready "$directory/ready"; do
        kill -0 "$broker" # fails if the broker has ended, and it has reported why
        sleep 0.05
    done
    taskset --cpu-list 0 "$programs/calls" "$socket" "$1" "$2"
    kill -TERM "$broker"
    wait "$broker"
    broker=
}

instructions() {
    sed -n 's/^\(summary\|totals\): \([0-9]*\).*/\2/p' "$1" | tail -n 1
}

# cost TITLE METRIC CALLS
cost() {
    profile "$2" "$3" "$directory/few"
    profile "$2" $((3 * $3)) "$directory/many"
    local difference=$(($(instructions "$directory/many") - $(instructions "$directory/few")))
    printf '%-16s %6d instructions a call\n' "$1" $((difference / (2 * $3)))
    [ -z "$top" ] || annotate "$directory/many" >"$top/profile-$1.txt"
}

annotate() {
    printf 'Instructions of functions with what they call\n\n'
    callgrind_annotate --auto=no --inclusive=yes --threshold=100 "$1" | functions
    printf '\nInstructions of the functions themselves\n\n'
    callgrind_annotate --auto=no --inclusive=no --threshold=100 "$1" | functions
}

# The first 50 functions, without process start-up and without this machine's paths.
functions() {
    grep -E '^ *[0-9,]+ \(' |
        grep -vE 'lang_start|libc_start|short_backtrace|:main|below main|\?\?\?:0x' |
        sed -E 's/ +\[[^]]*\]$//; s|'"$PWD"'/||g; s|/rustc/[0-9a-f]+/||; s|/.*/registry/src/[^/]*/||' |
        sed -n '1,51p'
}

cost window64 window64 32000
cost lone round-trip64 10000
