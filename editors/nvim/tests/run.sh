#!/bin/sh
# Neovim's own inline completion against the real server and models: shows the ghost text, accepts it, prints both.
# Usage: run.sh PATH-OF-COSEC-LS [FILE LINE]; needs Neovim 0.12 and pulled models.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
server=$1
file=${2:-$here/../../tests/fixtures/find_user.py}
line=${3:-10}
work=$(mktemp -d)
trap 'kill "$nvim" 2>/dev/null; rm -rf "$work"' EXIT
cp "$file" "$work/"
cat > "$work/init.lua" <<LUA
vim.opt.runtimepath:prepend("$here")
vim.opt.swapfile = false
vim.lsp.config("cosec_ls", { cmd = { "$server", "serve" } })
vim.lsp.enable("cosec_ls")
vim.lsp.inline_completion.enable()
LUA
nvim --headless -u "$work/init.lua" --listen "$work/socket" "$work/$(basename "$file")" 2> "$work/stderr" &
nvim=$!
ask() { nvim --headless -u NONE --server "$work/socket" --remote-expr "$1" 2>&1; }
wait_for() { # WHAT EXPRESSION PATTERN
  tries=0
  until ask "$2" | grep -q "$3"; do
    tries=$((tries + 1))
    if [ $tries -gt 240 ]; then echo "gave up waiting for $1: $(ask "$2")"; cat "$work/stderr"; exit 1; fi
    sleep 0.5
  done
}
ghost='luaeval("vim.inspect(vim.iter(vim.api.nvim_get_namespaces()):map(function(_, ns) return vim.tbl_map(function(m) return {m[4].virt_text, m[4].virt_lines} end, vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, {details=true})) end):totable())")'
wait_for "Neovim" 'v:version' '[0-9]'
wait_for "the server" 'luaeval("#vim.lsp.get_clients()")' 1
nvim --headless -u NONE --server "$work/socket" --remote-send "${line}GA"
wait_for "ghost text" "$ghost" '"'
echo "-- ghost text:"
ask "$ghost" | tr -s ' \n' ' '
echo
ask 'luaeval("tostring(vim.lsp.inline_completion.get())")' > /dev/null
wait_for "the accepted text" "getline($line)" ')'
echo "-- the buffer after accepting:"
ask "join(getline(1, '\$'), \"\\n\")"
echo
