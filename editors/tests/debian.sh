#!/bin/sh
# Programs of a newer Debian for tests of editors, in a directory of their own. Prints that directory.
# Usage: debian.sh SUITE PACKAGE...
#   debian.sh sid neovim        → target/editors/sid, with usr/bin/nvim in it
# COSEC_EDITORS is the directory of all suites; COSEC_SID, COSEC_TRIXIE, … that of one. What is there already stays.
# Run a program of it by `chroot DIR …`, or on this system's files by its own loader (../nvim/tests/run.sh has an example).
set -eu
suite=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
own=$(eval "printf %s \"\${COSEC_$(printf %s "$suite" | tr '[:lower:]' '[:upper:]'):-}\"")
dir=${own:-${COSEC_EDITORS:-$here/../../target/editors}/$suite}

complete() { # whether all packages are installed
  for package in "$@"; do
    dpkg-query --admindir="$dir/var/lib/dpkg" -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || return 1
  done
}
finish() { (cd "$dir" && pwd); exit 0; }

[ -d "$dir/var/lib/dpkg" ] && complete "$@" && finish
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "debian.sh: $suite with $* needs root on a Debian system, or COSEC_$(printf %s "$suite" | tr '[:lower:]' '[:upper:]')" >&2
  exit 1
fi
mkdir -p "$(dirname "$dir")"
# One installation at a time, whoever asks.
exec 9>"$dir.lock"
flock 9
complete "$@" && finish

command -v debootstrap >/dev/null || {
  apt-get update >&2 || true
  apt-get install -y --no-install-recommends debootstrap >&2
}
if [ ! -d "$dir/var/lib/dpkg" ]; then
  # The mirror that this system uses itself, then the usual one.
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)
  rm -rf "$dir.partial"
  trap 'rm -rf "$dir.partial"' EXIT INT TERM
  debootstrap --variant=minbase "$suite" "$dir.partial" "${mirror:-http://deb.debian.org/debian}" >&2
  mv "$dir.partial" "$dir"
fi
# Release files of mirrors that stand still expire.
chroot "$dir" apt-get -o Acquire::Check-Valid-Until=false update >&2
chroot "$dir" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
chroot "$dir" apt-get clean
complete "$@" || { echo "debian.sh: $* did not get into $dir" >&2; exit 1; }
finish
