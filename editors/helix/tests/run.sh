#!/bin/sh
# Helix in a terminal against the real server and models, configured by `cosec-ls setup helix` in an empty home.
# Usage: run.sh PATH-OF-COSEC-LS; needs pulled models (profile `small`), Python 3, and root for Debian's sid, where Helix is.
# COSEC_CAPTURES=DIRECTORY keeps what the screen showed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
server=$(realpath "$1")
skip() {
  echo "skipped: $1"
  [ -z "${COSEC_SKIPPED:-}" ] || echo "editors/helix/tests/run.sh: $1" >> "$COSEC_SKIPPED"
  exit 0
}
if ! sid=$("$here/../../tests/debian.sh" sid hx tmux); then
  skip "Helix cannot be installed"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
ln -s "$server" "$work/bin/cosec-ls"
# Helix and tmux are younger than this machine's C library, so they bring their own.
for program in hx tmux; do
  cat > "$work/bin/$program" <<SH
#!/bin/sh
exec "$sid/lib64/ld-linux-x86-64.so.2" --library-path "$sid/usr/lib/x86_64-linux-gnu:$sid/lib/x86_64-linux-gnu" "$sid/usr/bin/$program" "\$@"
SH
  chmod +x "$work/bin/$program"
done
models=${COSEC_MODELS_DIR:-$("$server" models path small 2> /dev/null | head -n 1 | xargs dirname)}
export COSEC_MODELS_DIR="$models" HELIX_RUNTIME="$sid/usr/lib/hx/runtime"
export TERMINFO_DIRS="$sid/etc/terminfo:$sid/lib/terminfo:$sid/usr/share/terminfo" PATH="$work/bin:$PATH"
python3 "$here/helix.py" "$work"
