#!/bin/sh
# Emacs 30 (Eglot, with and without yasnippet; lsp-mode) against the real server and models, configured by
# `cosec-ls setup emacs` in an empty home.
# Usage: run.sh PATH-OF-COSEC-LS; needs pulled models (profile `small`), and root for Debian's sid, where Emacs is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
server=$(realpath "$1")
skip() {
  echo "skipped: $1"
  [ -z "${COSEC_SKIPPED:-}" ] || echo "editors/emacs/tests/run.sh: $1" >> "$COSEC_SKIPPED"
  exit 0
}
if ! sid=$("$here/../../tests/debian.sh" sid emacs-nox elpa-lsp-mode elpa-yasnippet); then
  skip "Emacs cannot be installed"
fi
[ "$(id -u)" = 0 ] || skip "Emacs runs in a chroot, which needs root"
models=${COSEC_MODELS_DIR:-$("$server" models path small 2> /dev/null | head -n 1 | xargs dirname)}
work=$(mktemp -d "$sid/tmp/cosec-emacs-XXXXXX")
trap 'rm -rf "$work"' EXIT
inside=${work#"$sid"}
# Models are trusted only under the path that they were verified under.
mkdir -p "$work/bin" "$work/home" "$work/tests" "$sid$models"
touch "$work/bin/cosec-ls"
cp "$here"/*.el "$work/tests/"

# In mounts of its own, which end with it; in the language servers' usual place, the PATH, there is only ours.
emacs() {
  unshare --mount sh -c '
    mount --rbind /proc "$4/proc" && mount --rbind /dev "$4/dev" &&
      mount --bind "$1" "$3/bin/cosec-ls" && mount --bind "$2" "$4$2" && shift 3 && exec chroot "$@"
  ' mounts "$server" "$models" "$work" "$sid" env -i HOME="$inside/home" PATH="$inside/bin:/usr/bin:/bin" \
    TERM=dumb LANG=C.UTF-8 COSEC_MODELS_DIR="$models" "$@"
}

emacs cosec-ls setup emacs --yes > "$work/setup.log"
grep -q 'eglot-server-programs' "$work/home/.emacs.d/init.el"
echo "ok: cosec-ls setup emacs"
for way in eglot eglot-yasnippet lsp-mode; do
  mkdir "$work/project-$way"
  emacs timeout 500 emacs --batch --no-splash --load "$inside/home/.emacs.d/init.el" \
    --load "$inside/tests/checks.el" --eval "(cosec-checks-run \"$way\" \"$inside/project-$way/\")" 2> "$work/$way.log" ||
    { tail -n 40 "$work/$way.log"; exit 1; }
done
emacs cosec-ls setup emacs --undo --yes > "$work/setup.log"
[ ! -e "$work/home/.emacs.d/init.el" ]
echo "ok: cosec-ls setup emacs --undo"
