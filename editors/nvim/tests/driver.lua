-- Drives a Neovim under test over RPC, from `nvim -l`. One line for each check.
local M = {}

local here = vim.fs.dirname(vim.fs.normalize(debug.getinfo(1, "S").source:sub(2)))
M.plugin = vim.fs.dirname(here)
M.failed = 0

---@class Editor
---@field channel integer
local Editor = {}
Editor.__index = Editor

--- Starts the Neovim under test with the plugin on its path. `init` is Lua for its init file, run before files are read.
---@param init string
---@param files string[]
---@param env? table<string, string>
---@return Editor
function M.start(init, files, env)
  local work = vim.fn.tempname()
  vim.fn.mkdir(work, "p")
  local file = work .. "/init.lua"
  local text = ("dofile(%q)\nvim.opt.runtimepath:prepend(%q)\n%s\n"):format(here .. "/child.lua", M.plugin, init)
  vim.fn.writefile(vim.split(text, "\n"), file)
  local command =
    { vim.env.COSEC_NVIM, "--embed", "--headless", "--listen", work .. "/socket", "-n", "-i", "NONE", "-u", file }
  local channel = vim.fn.jobstart(vim.list_extend(command, files), {
    rpc = true,
    env = vim.tbl_extend("force", { XDG_CONFIG_HOME = work, XDG_DATA_HOME = work, XDG_STATE_HOME = work }, env or {}),
  })
  assert(channel > 0, "Neovim does not start: " .. command[1])
  local editor = setmetatable({ channel = channel }, Editor)
  editor:wait("start", "return vim.v.vim_did_enter == 1")
  return editor
end

--- Runs Lua in the Neovim under test.
---@param code string
---@param ... any
---@return any
function Editor:lua(code, ...)
  return vim.rpcrequest(self.channel, "nvim_exec_lua", code, { ... })
end

---@param keys string
function Editor:type(keys)
  vim.rpcrequest(self.channel, "nvim_input", keys)
end

--- Waits until Lua gives something true, and returns it.
---@param what string
---@param code string
---@param seconds? number
---@param ... any
---@return any
function Editor:wait(what, code, seconds, ...)
  local arguments = { ... }
  local result
  local done = vim.wait((seconds or 20) * 1000, function()
    result = self:lua(code, unpack(arguments))
    return result ~= nil and result ~= vim.NIL and result ~= false
  end, 10)
  if not done then
    error(
      ("gave up waiting for %s; messages: %s; :messages: %s"):format(
        what,
        vim.inspect(self:lua("return Test.messages")),
        self:lua("return vim.fn.execute('messages')")
      ),
      0
    )
  end
  return result
end

--- Types keys and waits until they are all read.
---@param keys string
function Editor:keys(keys)
  self:type(keys)
  -- Requests are answered between keys, in the order in which both came, once no key is left.
  self:wait("keys", "return vim.fn.getchar(1) == 0")
end

--- Attaches a screen, on which frames can be looked at.
---@return Screen
function Editor:attach()
  local socket = self:lua("return vim.v.servername")
  self.screen = dofile(here .. "/screen.lua").attach(socket, 120, 40)
  return self.screen
end

function Editor:detach()
  self.screen.pipe:close()
end

--- Waits until a line on the screen holds the text.
---@param text string
function Editor:seen(text)
  local seen = vim.wait(10000, function()
    return self.screen:shows(text)
  end, 10)
  if not seen then
    error(("%q is not on the screen: %s"):format(text, vim.inspect(self.screen.frames[#self.screen.frames])), 0)
  end
end

--- Ends it at once. A server that it has started ends by itself: its pipe is closed.
function Editor:stop()
  vim.uv.kill(vim.fn.jobpid(self.channel), 9)
  vim.fn.jobwait({ self.channel }, 5000)
end

--- The process of a program that it has started.
---@param program string
---@return integer?
function Editor:child(program)
  local pid = vim.fn.jobpid(self.channel)
  local children = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
  for child in (children and children:read("*a") or ""):gmatch("%d+") do
    local command = io.open(("/proc/%s/cmdline"):format(child))
    if command and vim.startswith(command:read("*a"), program .. "\0") then
      return tonumber(child)
    end
  end
end

---@param got any
---@param expected any
---@param what? string
function M.equal(got, expected, what)
  if not vim.deep_equal(got, expected) then
    error(("%s: got %s, expected %s"):format(what or "value", vim.inspect(got), vim.inspect(expected)), 0)
  end
end

---@param condition any
---@param what string
function M.ok(condition, what)
  if not condition or condition == vim.NIL then
    error(what, 0)
  end
end

---@param text string
function M.say(text)
  io.write(text .. "\n")
end

--- Runs one check and says how it went.
---@param claim string
---@param run fun()
function M.check(claim, run)
  local only = vim.env.COSEC_ONLY
  if only and not claim:find(only, 1, true) then
    return
  end
  local began = vim.uv.hrtime()
  local ok, message = xpcall(run, function(err)
    return type(err) == "string" and err:find("^%S*:%d+:") and debug.traceback(err) or err
  end)
  local seconds = (vim.uv.hrtime() - began) / 1e9
  io.write(("%s %s: %s (%.1f s)\n"):format(ok and "ok  " or "FAIL", vim.env.COSEC_LABEL or "nvim", claim, seconds))
  if not ok then
    M.failed = M.failed + 1
    io.write("     " .. tostring(message):gsub("\n", "\n     ") .. "\n")
  end
  io.flush()
end

return M
