#!/bin/sh
# Follows log files for any number of readers: each new line of a file is an event on the topic log.NAME.
#
#   examples/follow.sh app.log access.log &
#   ipcctl subscribe log.                       # all of them
#   ipcctl subscribe log.app --exec ./alert.sh  # a command for each line, which it finds on its standard input
#
# A reader that is too slow is told how many lines it has lost; neither the file nor the other readers wait for it.
set -eu
[ $# -gt 0 ] || { echo "usage: follow.sh FILE..." >&2; exit 64; }

publishers=
trap 'kill $publishers 2>/dev/null' EXIT # and tail ends, for it has no reader any more
trap 'exit 143' TERM
trap 'exit 130' INT

for file in "$@"; do
    name=$(basename "$file" .log | tr A-Z. a-z- | tr -cd a-z0-9_-)
    tail -n 0 -F -- "$file" 2>/dev/null | ipcctl publish "log.$name" --lines - &
    publishers="$publishers $!"
done
wait
