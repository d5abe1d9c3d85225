#!/usr/bin/env bash
# Builds every package from a clean checkout: the wheel, the VS Code extension with the server inside and without, and
# their checksums. Needs Rust, Python 3 and Node; its other tools go into target/packages-tools.
# Usage: packages/build.sh [OUT]   (by default target/packages)
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
out=${1:-$target/packages}
tools=$target/packages-tools

step() { printf -- '-- %s (after %ds)\n' "$1" "$SECONDS"; }

step "tools"
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check -r packages/requirements.txt
COSEC_ZIG=$("$tools/bin/python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
export COSEC_ZIG ZIG_GLOBAL_CACHE_DIR=$tools/zig ZIG_LOCAL_CACHE_DIR=$tools/zig
rm -rf "$out" && mkdir -p "$out"
out=$(cd "$out" && pwd)

step "wheel"
# The arguments after -- reach only the program itself, so that what `cargo build --release` compiled is used.
"$tools/bin/maturin" build --release --locked --compatibility manylinux_2_28 --auditwheel check --out "$out" \
  -- -C "linker=$root/packages/link-for-glibc-2.28.sh" -C strip=symbols
"$tools/bin/twine" check --strict "$out"/*.whl

step "the program in it"
server=$(mktemp -d "$tools/server.XXXXXX")
trap 'rm -rf "$server"' EXIT
"$tools/bin/python" -m zipfile -e "$out"/*.whl "$server"
program=$(echo "$server"/*.data/scripts/cosec-ls)
packages/check-binary.sh "$program"

step "VS Code extension"
cd editors/vscode
npm ci --no-audit --no-fund --loglevel=error
version=$(node -p 'require("./package.json").version')
npm run --silent package -- --target linux-x64 --server "$program" --out "$out/cosec-ls-linux-x64-$version.vsix"
npm run --silent package -- --out "$out/cosec-ls-$version.vsix"

step "checksums"
cd "$out"
sha256sum -- *.whl *.vsix | tee SHA256SUMS
ls -l
