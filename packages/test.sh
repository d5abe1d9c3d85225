#!/usr/bin/env bash
# Installs each package into an empty environment and completes a line with the real models, without Rust in reach.
# Usage: packages/test.sh [OUT]   (by default target/packages; the models are where `cosec-ls models pull` puts them)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
out=$(cd "${1:-$target/packages}" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
cache=${XDG_CACHE_HOME:-$HOME/.cache}
question=tests/fixtures/find_user.py:10
passed=0

work=$(mktemp -d)
old=$target/bullseye
trap 'rm -rf "$work" "$old/opt"' EXIT
mkdir "$work/home"

step() { printf -- '-- %s (after %ds)\n' "$1" "$SECONDS"; }
fail() { echo "FAILED: $1" >&2; exit 1; }
skip() { echo "skipped: packages/test.sh: $1" | tee -a "${COSEC_SKIPPED:-/dev/null}"; }
pass() { echo "ok: $1"; passed=$((passed + 1)); }
seconds_since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }

# A user's shell with no home but an empty one, and nothing of this machine but the models.
empty() { env -i PATH="$PATH_OF_USER" HOME="$work/home" XDG_CACHE_HOME="$cache" "$@"; }
PATH_OF_USER=/usr/bin:/bin

# What a completion of a Python line that builds a query must be: hardened, and of several tokens.
completes() {
  local said
  said=$("$@") || fail "$* ended with $?"
  echo "$said"
  grep -q 'execute(' <<<"$said" || fail "$*: no call was suggested"
  grep -Eq -- '-- [0-9]+ tokens, first after' <<<"$said" || fail "$*: no statistics"
}

is_the_version() { [ "$("$@" --version)" = "cosec-ls $version" ] || fail "$* is not of version $version"; }

step "checksums and names"
(cd "$out" && sha256sum --check --quiet --strict SHA256SUMS)
[ "$(ls "$out" | grep -v SHA256SUMS | tr '\n' ' ')" = "cosec-ls-$version.vsix cosec-ls-linux-x64-$version.vsix cosec_ls-$version-py3-none-manylinux_2_28_x86_64.whl " ] \
  || fail "other packages than expected: $(ls "$out")"
pass "checksums and names"

step "the wheel, from pip install to the first suggestion"
started=$(date +%s.%N)
python3 -m venv "$work/venv"
ready=$(date +%s.%N)
PIP_FIND_LINKS='' "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index --no-deps "$out"/*.whl
installed=$(seconds_since "$ready")
program=$work/venv/bin/cosec-ls
PATH_OF_USER=$work/venv/bin:/usr/bin:/bin
is_the_version empty cosec-ls
completes empty cosec-ls complete --max-lines 1 "$question"
echo "from pip install to the suggestion: $(seconds_since "$ready") s, of which pip $installed s; the virtual environment before it: $(awk -v a="$started" -v b="$ready" 'BEGIN { printf "%.1f", b - a }') s"
packages/check-binary.sh "$program"
if packages/check-binary.sh /bin/bash 2>"$work/bash"; then fail "the check of the file lets everything pass"; fi
cat "$work/bash"
pass "wheel"
PATH_OF_USER=/usr/bin:/bin

step "the server in the .vsix"
unpack() { mkdir "$2" && unzip -q "$1" -d "$2"; }
unpack "$out/cosec-ls-linux-x64-$version.vsix" "$work/with"
server=$work/with/extension/server/cosec-ls
[ -x "$server" ] || fail "the .vsix has no executable server"
cmp "$server" "$program" || fail "the .vsix and the wheel have different programs"
is_the_version empty "$server"
completes empty "$server" complete --max-lines 1 "$question"
unpack "$out/cosec-ls-$version.vsix" "$work/without"
[ -e "$work/without/extension/dist/extension.js" ] || fail "the .vsix for every platform has no extension"
[ ! -e "$work/without/extension/server" ] || fail "the .vsix for every platform has a server"
pass ".vsix"

step "a processor without AVX"
if command -v qemu-x86_64 >/dev/null; then
  echo '#include <immintrin.h>
int main(int n, char **a) { return _mm256_movemask_ps(_mm256_set1_ps(-n)) != 255; }' >"$work/avx.c"
  cc -O1 -mavx -o "$work/avx" "$work/avx.c"
  if bash -c "qemu-x86_64 -cpu Nehalem $work/avx; exit \$?" >/dev/null 2>&1; then fail "the emulated Nehalem has AVX"; fi
  is_the_version empty qemu-x86_64 -cpu Nehalem "$program"
  # The smallest question: an emulated processor is two hundred times slower.
  printf 'def add(a, b):\n    return\n' >"$work/add.py"
  empty qemu-x86_64 -cpu Nehalem "$program" complete --profile small --mode off --max-tokens 4 "$work/add.py:2" | tee "$work/nehalem"
  grep -Eq -- '-- [0-9]+ tokens?, first after' "$work/nehalem" || fail "nothing was decoded on a Nehalem"
  pass "Nehalem"
else
  skip "qemu-x86_64 is not installed"
fi

step "an old userland"
if [ ! -e "$old/made" ] && [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then
  rm -rf "$old" && debootstrap --foreign --variant=minbase bullseye "$old" >"$work/debootstrap.log" 2>&1 && touch "$old/made"
fi
if [ -e "$old/made" ]; then
  mkdir -p "$old/opt/cosec" "$old/opt/cache"
  cp "$program" tests/fixtures/find_user.py "$old/opt/cosec/"
  # Links to the models where both are on one disk.
  cp -rl "$cache/cosec-ls" "$old/opt/cache/" 2>/dev/null || cp -rL "$cache/cosec-ls" "$old/opt/cache/"
  echo "with $(basename "$(readlink -f "$old/lib/x86_64-linux-gnu/libc.so.6")")"
  inside() { chroot "$old" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/opt XDG_CACHE_HOME=/opt/cache "$@"; }
  is_the_version inside /opt/cosec/cosec-ls
  completes inside /opt/cosec/cosec-ls complete --max-lines 1 /opt/cosec/find_user.py:10
  pass "old userland"
else
  skip "no old userland: it needs root, debootstrap and Debian's mirrors"
fi

echo "$passed passed, 0 failed"
