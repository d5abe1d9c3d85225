#!/usr/bin/env bash
# Whether the program compiles, without a warning, for 64-bit ARM Linux and for Windows. It is not linked, run or tested.
# Where this machine's Rust has both standard libraries, that Rust is used; nothing is added to it. Elsewhere a Debian
# userland with its own Rust is made, as root, in ROOT. Usage: packages/cross-check.sh [ROOT]   (by default target/cross)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
arm=aarch64-unknown-linux-gnu
windows=x86_64-pc-windows-gnu

step() { printf -- '-- %s (after %ds)\n' "$1" "$SECONDS"; }

sysroot=$(rustc --print sysroot 2>/dev/null || true)
if [ -d "$sysroot/lib/rustlib/$arm/lib" ] && [ -d "$sysroot/lib/rustlib/$windows/lib" ]; then
  for each in "$arm" "$windows"; do
    step "$each"
    RUSTFLAGS="-D warnings" cargo check --locked --lib --bins --target "$each"
  done
  step "both compile"
  exit
fi

root=${1:-$target/cross}
if [ ! -e "$root/made" ]; then
  step "a Debian userland with Rust for both, in $root"
  rm -rf "$root"
  # The compiler of the oldest release that is new enough: its backports.
  debootstrap --variant=minbase --include=ca-certificates trixie "$root" >/dev/null
  sed 's/ trixie / trixie-backports /' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/backports.list"
  echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90cross"
  chroot "$root" dpkg --add-architecture arm64
  chroot "$root" apt-get update -q
  chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends -t trixie-backports \
    rustc cargo rust-src libstd-rust-dev:arm64 gcc libc6-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-mingw-w64-x86-64 >/dev/null
  touch "$root/made"
fi
# The network and the certificates are the machine's.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root/cosec-ls" && mkdir "$root/cosec-ls"
git ls-files -z --cached --others --exclude-standard -- Cargo.toml Cargo.lock models.toml src adapters docs editors benches tests \
  | tar --null --files-from=- -cf - | tar -xf - -C "$root/cosec-ls"

check() {
  step "$1"
  # RUSTC_BOOTSTRAP is for -Zbuild-std: Debian has no standard library for Windows but its sources.
  chroot "$root" env -i PATH=/usr/bin:/bin HOME=/root CARGO_TARGET_DIR=/target CARGO_INCREMENTAL=0 RUSTFLAGS="-D warnings" \
    RUSTC_BOOTSTRAP=1 sh -c 'cd /cosec-ls && exec cargo check --locked --lib --bins --target "$@"' sh "$@"
}
check "$arm"
check "$windows" -Zbuild-std=std,panic_unwind
step "both compile"
