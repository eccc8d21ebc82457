#!/usr/bin/env bash
# Builds the release archive: ipcd and ipcctl, static and position-independent, with manual pages, completions and units.
#
#   dist/build.sh            -> dist/out/ipcd-VERSION-TRIPLE.tar.gz and its .sha256
#
# Static, because most of what `ipcctl send` costs is exec and dynamic linking (docs/performance.md). --target is named so that build
# scripts and procedural macros stay dynamic. Neither program looks up users or hosts, so nothing needs glibc's NSS at run time.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "dist/build.sh: $*" >&2
    exit 1
}

triple=$(rustc -vV | sed -n 's/^host: //p')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=ipcd-$version-$triple
target=${CARGO_TARGET_DIR:-target}
out=dist/out
stage=$out/$name

echo "building $name"
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static -C relocation-model=pie" \
    cargo build --locked --profile dist --target "$triple" -p ipcd -p ipcctl --bins

rm -rf "$stage"
mkdir -p "$stage"/{bin,completions,docs,etc,man/man{1,5,7,8},systemd}
for program in ipcd ipcctl; do
    binary=$target/$triple/dist/$program
    # Not grep -q: it would leave early, and the writer's SIGPIPE would count as a failure.
    readelf -l "$binary" | grep INTERP >/dev/null && fail "$binary wants a dynamic linker: it is not static"
    readelf -h "$binary" | grep 'Type:.*DYN' >/dev/null || fail "$binary is not position-independent"
    cp "$binary" "$stage/bin/"
done

ipcctl=$stage/bin/ipcctl
verbs=$("$ipcctl" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\) .*/\1/p')
[ -n "$verbs" ] || fail "no verbs in the help of ipcctl"
"$ipcctl" man >"$stage/man/man1/ipcctl.1"
for verb in $verbs; do
    "$ipcctl" man "$verb" >"$stage/man/man1/ipcctl-$verb.1"
done
for page in dist/man/*; do
    cp "$page" "$stage/man/man${page##*.}/"
done

for shell in bash zsh fish; do
    "$ipcctl" completions "$shell" >"$stage/completions/ipcctl.$shell"
    cargo run --locked --quiet -p ipcd --example completions -- "$shell" >"$stage/completions/ipcd.$shell"
done

cp dist/ipcd.toml "$stage/etc/"
mkdir "$stage/systemd/system"
cp dist/ipcd.service dist/ipcd.socket "$stage/systemd/system/"
cp -r dist/user "$stage/systemd/"
cp dist/README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$stage/"
cp docs/protocol.md "$stage/docs/"

echo "checking the archive"
while IFS=: read -r page link; do
    [ -e "$(dirname "$page")/$link" ] || fail "$page links to $link, which the archive lacks"
done < <(grep -roP --include='*.md' '\]\(\K(?!https?:)[^)#]+' "$stage")
answer=$("$ipcctl" run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send --wait=5s upper hello')
[ "$answer" = HELLO ] || fail "ipcctl run printed '$answer' instead of HELLO"
"$stage/bin/ipcd" --version

# The same sources give the same archive: files carry the time of the commit and belong to root.
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" \
    -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
ls -l "$stage/bin" "$out/$name.tar.gz"
