#!/usr/bin/env bash
# Fails unless a program runs wherever x86-64 Linux has glibc 2.28: what it asks of the system, read out of the file.
# Usage: packages/check-binary.sh PROGRAM
set -euo pipefail
program=$1
fail() { echo "$program: $1" >&2; exit 1; }

dynamic=$(LC_ALL=C readelf --wide --dynamic "$program")
versions=$(LC_ALL=C readelf --wide --version-info "$program" | grep -oE 'Name: [A-Za-z0-9_.]+' | sed 's/Name: //' | sort -uV)
[ -n "$versions" ] || fail "names no version of the C library"
if others=$(grep -vE '^GLIBC_[0-9.]+$' <<<"$versions"); then fail "needs more than glibc: ${others//$'\n'/ }"; fi
newest=$(tail -1 <<<"$versions")
[ "$(printf '%s\nGLIBC_2.28\n' "$newest" | sort -V | tail -1)" = GLIBC_2.28 ] || fail "needs $newest"

# Every libc of glibc 2.28 brings these.
known='libc|libm|libdl|libpthread|librt|libutil|ld-linux-x86-64'
libraries=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<<"$dynamic")
if others=$(grep -vE "^($known)\.so\.[0-9]+$" <<<"$libraries"); then fail "needs ${others//$'\n'/ }"; fi
if grep -qE '\((RPATH|RUNPATH|TEXTREL)\)' <<<"$dynamic"; then fail "has a library path, or relocations in its code"; fi
grep -qE 'FLAGS_1.*NOW.*PIE|FLAGS_1.*PIE.*NOW' <<<"$dynamic" || fail "is not position-independent, or binds late"
LC_ALL=C readelf --wide --segments "$program" | grep -qE 'GNU_STACK.* RW ' || fail "has an executable stack"
if LC_ALL=C readelf --wide --sections "$program" | grep -qE '\.(debug_info|symtab) '; then fail "is not stripped"; fi
echo "$(basename "$program"): $(stat -c %s "$program") bytes, up to $newest, of ${libraries//$'\n'/ }"
