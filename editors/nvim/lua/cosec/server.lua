--- Where the server is, and what keeps it from being started.
local config = require("cosec.config")

local M = {}

M.NAME = "cosec-ls"

--- Directories that installers put programs in and that a graphical session's PATH often lacks.
local PLACES = { "~/.cargo/bin", "~/.local/bin" }

---@param path string
---@return boolean
local function exists(path)
  return vim.uv.fs_stat(path) ~= nil
end

---@return string? path
local function search()
  local path = vim.fn.exepath(M.NAME)
  if path ~= "" then
    return path
  end
  for _, place in ipairs(PLACES) do
    local candidate = vim.fn.expand(place) .. "/" .. M.NAME
    if exists(candidate) then
      return candidate
    end
  end
end

--- The command line of the server, or the sentence that says why there is none.
---@return string[]|function|nil cmd
---@return string? problem
function M.command()
  local cmd = config.options.cmd
  if type(cmd) == "function" then
    return cmd
  end
  if type(cmd) == "string" then
    cmd = { cmd, "serve" }
  end
  ---@cast cmd string[]?
  local program
  if cmd then
    program = vim.fn.expand(cmd[1] or "")
    if not program:find("/") then
      program = vim.fn.exepath(program)
    end
  else
    program = search()
  end
  if not program or program == "" or not exists(program) then
    local named = cmd and ("`%s`, the option `cmd`,"):format(cmd[1] or "") or "The server cosec-ls"
    local looked = cmd and "is not there" or "is neither on the PATH nor in ~/.cargo/bin or ~/.local/bin"
    return nil, ("%s %s: install it (its wheel with pip, its source with cargo), or set `cmd`."):format(named, looked)
  end
  if vim.fn.isdirectory(program) == 1 then
    return nil, ("%s is a directory: set `cmd` to the program in it."):format(program)
  end
  if vim.fn.executable(program) == 0 then
    return nil, ("%s cannot be executed: run `chmod +x %s`, or install it again."):format(program, program)
  end
  return vim.list_extend({ program }, cmd and vim.list_slice(cmd, 2) or { "serve" })
end

return M
