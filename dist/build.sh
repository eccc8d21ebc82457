#!/usr/bin/env bash
# Builds the release archive: ipcd and ipcctl, static and position-independent, with completions and man pages.
#
#   dist/build.sh            -> dist/out/ipcd-VERSION-TRIPLE.tar.gz
#
# Static, because most of what `ipcctl send` costs is exec and dynamic linking (docs/performance.md). --target is named so that build
# scripts and procedural macros stay dynamic. Neither program looks up users or hosts, so nothing needs glibc's NSS at run time.
set -euo pipefail
cd "$(dirname "$0")/.."

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
mkdir -p "$stage/bin" "$stage/completions" "$stage/man/man1"
for program in ipcd ipcctl; do
  binary=$target/$triple/dist/$program
  if readelf -l "$binary" | grep -q INTERP; then
    echo "$binary wants a dynamic linker: it is not static" >&2
    exit 1
  fi
  if ! readelf -h "$binary" | grep -q 'Type:.*DYN'; then
    echo "$binary is not position-independent" >&2
    exit 1
  fi
  cp "$binary" "$stage/bin/"
done

ipcctl=$stage/bin/ipcctl
for shell in bash zsh fish; do
  "$ipcctl" completions "$shell" > "$stage/completions/ipcctl.$shell"
  cargo run --locked --quiet -p ipcd --example completions -- "$shell" > "$stage/completions/ipcd.$shell"
done
"$ipcctl" man > "$stage/man/man1/ipcctl.1"
for verb in send serve run wait list show peers stats limits ping bench completions help; do
  "$ipcctl" man "$verb" > "$stage/man/man1/ipcctl-$verb.1"
done
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/protocol.md "$stage/"

echo "checking that the programs work"
answer=$("$ipcctl" run -- sh -c 'ipcctl serve upper -- tr a-z A-Z & ipcctl send --wait=5s upper hello')
if [ "$answer" != HELLO ]; then
  echo "ipcctl run printed '$answer' instead of HELLO" >&2
  exit 1
fi
"$stage/bin/ipcd" --version

tar -C "$out" -czf "$out/$name.tar.gz" "$name"
ls -l "$stage/bin" "$out/$name.tar.gz"
