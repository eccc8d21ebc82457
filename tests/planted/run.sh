#!/usr/bin/env bash
# Plants known bugs into a copy of the tree, one at a time, and shows which tests catch them. One that no test catches is a failure.
#
#   tests/planted/run.sh              all of tests/planted/*.patch, a minute or so each
#   tests/planted/run.sh NAME...      some of them: the name of a patch, without its ending
#   tests/planted/run.sh --check      only whether each still applies
#
# The first line of a patch says what is wrong with the code that it makes. The rings of tests are tried from the cheapest on, until one
# fails; with PLANTED_ALL=1, all of them. A ring that does not end within PLANTED_SECONDS counts as failed.
#
# A patch that does not apply any more is made anew: edit the code, `git diff -U1 >tests/planted/NAME.patch`, put its line on top.
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
planted=$root/tests/planted

# Kept for the next time: only what a patch touches is built again.
work=${CARGO_TARGET_DIR:-$root/target}/planted
tree=$work/tree
export CARGO_TARGET_DIR=$work/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 RUST_BACKTRACE=0
export IPCD_WALK_SEEDS=${IPCD_WALK_SEEDS:-8}

RINGS=('--test stories' '--test walks' '--test exhaustive' '--lib')

main() {
    local names=("$@") name failed=0
    if [[ ${1:-} == --check ]]; then
        check
        return
    fi
    [[ $# -gt 0 ]] || mapfile -t names < <(basename --suffix=.patch "$planted"/*.patch)
    copy
    row 'planted bug' 'caught by'
    [[ $# -gt 0 ]] || sound || return 1
    for name in "${names[@]}"; do
        plant "$name" || failed=1
    done
    return "$failed"
}

# Whether each patch applies to the tree as it is.
check() {
    local patch failed=0
    for patch in "$planted"/*.patch; do
        git apply --check "$patch" || { printf "%s does not apply\n" "$patch" && failed=1; }
    done
    return "$failed"
}

# A copy of the tree, in a repository of its own: inside of another one, git apply would leave out what that one ignores. A file that has
# not changed keeps its time, and is not built again.
copy() {
    local file
    mkdir -p "$tree"
    [[ -d $tree/.git ]] || git -C "$tree" init --quiet
    git ls-files -z --cached --others --exclude-standard >"$work/files"
    while IFS= read -r -d '' file; do
        [[ -f $file ]] || continue # deleted, and not committed
        cmp --quiet "$file" "$tree/$file" || install -D --mode="$(stat --format=%a "$file")" "$file" "$tree/$file"
    done <"$work/files"
    while IFS= read -r -d '' file; do
        [[ -f $file ]] || rm "$tree/$file"
    done < <(cd "$tree" && find . -name .git -prune -o -type f -printf '%P\0')
}

# Whether all tests pass without a bug: one that fails anyway would seem to catch them all.
sound() {
    local found
    ! found=$(catch) || { row '(none)' "$found" && return 1; }
}

# Plants one bug and prints its row of the table. False if it survives, or is no bug that can be planted.
plant() {
    local name=$1 patch=$tree/tests/planted/$1.patch found status=0
    if ! git -C "$tree" apply "$patch" 2>"$work/log"; then
        row "$name" 'DOES NOT APPLY'
        return 1
    fi
    found=$(catch) || status=$?
    git -C "$tree" apply --reverse "$patch"
    row "$name" "$found"
    return "$status"
}

# The tests that fail with the bug in place.
catch() {
    local ring log found=() status=1
    log=$work/log
    cd "$tree"
    for ring in "${RINGS[@]}"; do
        # shellcheck disable=SC2086 # a ring is two words
        if ! cargo test --locked --quiet --package ipcd $ring --no-run >"$log" 2>&1; then
            printf 'DOES NOT COMPILE: %s\n' "$(grep -m 1 '^error' "$log")"
            return 1
        fi
        # shellcheck disable=SC2086
        if ! timeout "${PLANTED_SECONDS:-600}" cargo test --locked --quiet --package ipcd $ring >"$log" 2>&1; then
            status=0
            found+=("$(failures "${ring##*[ -]}" "$log")")
            [[ -n ${PLANTED_ALL:-} ]] || break
        fi
    done
    [[ $status -eq 0 ]] || found=('NO TEST')
    (IFS=';' && printf '%s\n' "${found[*]}")
    return "$status"
}

# The tests that failed: how many, and the first ones by name.
failures() {
    local ring=$1 log=$2 names
    mapfile -t names < <(sed -n '/^failures:$/,$ s/^    \([a-z_:0-9]*\)$/\1/p' "$log" | sort -u)
    case ${#names[@]} in
    0) printf '%s: does not end, or crashes' "$ring" ;;
    1 | 2) printf '%s: %s' "$ring" "${names[*]}" ;;
    *) printf '%s: %s %s and %d more' "$ring" "${names[0]}" "${names[1]}" "$((${#names[@]} - 2))" ;;
    esac
}

row() { printf '%-32s %s\n' "$1" "$2"; }

main "$@"
