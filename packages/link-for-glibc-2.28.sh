#!/bin/sh
# The linker of the packaged program: zig's, with the symbols that glibc 2.28 has and no others. What needs a newer one
# does not link. The program's objects are those of the ordinary build.
exec "${COSEC_ZIG:?names the zig program}" cc -target x86_64-linux-gnu.2.28 "$@"
