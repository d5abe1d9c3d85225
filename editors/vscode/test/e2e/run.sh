#!/usr/bin/env bash
# The extension in a real VS Code (code-server in headless Chromium) with the real server and models.
# Usage: run.sh PROGRAM-OF-THE-SERVER [options of main.mjs]
# It installs what it needs into ${COSEC_EDITORS:-target/editors} and keeps it there; COSEC_CODE_SERVER names an installation
# that is there already. It needs node with npm, and the models of both profiles.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
server=$(realpath "$1")
shift
editors=${COSEC_EDITORS:-$root/target/editors}
mkdir -p "$editors"
editors=$(cd "$editors" && pwd)

skip() {
  echo "skipped: editors/vscode/test/e2e: $1"
  if [ -n "${COSEC_SKIPPED:-}" ]; then echo "editors/vscode/test/e2e: $1" >>"$COSEC_SKIPPED"; fi
  exit 0
}

install_packages() { # Debian packages, where the machine has apt and this user may
  command -v apt-get >/dev/null || return 1
  apt-get install -y --no-install-recommends "$@" >"$editors/apt.log" 2>&1 ||
    { apt-get update >"$editors/apt.log" 2>&1 && apt-get install -y --no-install-recommends "$@" >>"$editors/apt.log" 2>&1; }
}

command -v node >/dev/null && command -v npm >/dev/null || skip "it needs node and npm"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
  install_packages chromium || skip "chromium cannot be installed"
  browser=$(command -v chromium)
fi

# VS Code 1.100. The plain install fails where ripgrep's program cannot be downloaded, so no scripts are run but argon2's.
code_server=${COSEC_CODE_SERVER:-$editors/code-server}
if [ ! -f "$code_server/node_modules/code-server/out/node/entry.js" ]; then
  dpkg -s libkrb5-dev pkg-config >/dev/null 2>&1 || install_packages libkrb5-dev pkg-config || skip "libkrb5-dev cannot be installed"
  rm -rf "$code_server.new"
  mkdir -p "$code_server.new"
  (
    cd "$code_server.new"
    export npm_config_nodedir=${npm_config_nodedir:-/usr} npm_config_fund=false npm_config_audit=false
    npm init -y
    npm install code-server@4.100.3 --ignore-scripts
    (cd node_modules/code-server/lib/vscode && npm install --omit=dev --ignore-scripts --legacy-peer-deps)
    (cd node_modules/code-server/lib/vscode/extensions && npm install --omit=dev --ignore-scripts)
    npm rebuild argon2
  ) >"$editors/code-server.log" 2>&1 || { tail -20 "$editors/code-server.log" >&2; exit 1; }
  rm -rf "$code_server"
  mv "$code_server.new" "$code_server"
fi

cd "$root/editors/vscode"
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  npm ci --no-fund --no-audit --loglevel=error
fi
npm run --silent check
npm test --silent >"$editors/vscode-unit.log" 2>&1 || { cat "$editors/vscode-unit.log" >&2; exit 1; }
grep -E '^# (tests|pass|fail)' "$editors/vscode-unit.log" | tr '\n' ' '
echo
node test/e2e/main.mjs --server "$server" --code-server "$code_server" --browser "$browser" --failed "$editors/vscode-failed" "$@"
