-- Checks against the real server and models. COSEC_SERVER is the binary.
local driver = dofile(vim.fs.dirname(debug.getinfo(1, "S").source:sub(2)) .. "/driver.lua")
local check, equal, ok, say = driver.check, driver.equal, driver.ok, driver.say

local server = assert(vim.env.COSEC_SERVER, "COSEC_SERVER")
local dir = vim.fn.tempname()
vim.fn.mkdir(dir .. "/.git", "p")

local CODE = {
  "import sqlite3",
  "",
  "",
  "def find_user(db: sqlite3.Connection, name: str):",
  '    """Return the row of the user called `name`, or None."""',
  "    cursor = db.cursor()",
  "    cursor.execute(",
}

---@param name string
---@param lines? string[]
---@return string
local function file(name, lines)
  local path = dir .. "/" .. name
  vim.fn.writefile(lines or CODE, path)
  return path
end

---@param command string
---@param extra? string
---@return string
local function setup(command, extra)
  return ([[require("cosec").setup({ cmd = %s, settings = { profile = "small", timeBudgetMs = 60000 }, %s })]]):format(
    command,
    extra or ""
  )
end

local REAL = ("{ %q, 'serve' }"):format(server)
local READY = "return vim.tbl_get(require('cosec.client').state.status or {}, 'models', 'state') ~= nil"
local FINAL = "return Test.ghost() ~= nil and require('cosec.suggestion').answered(0) and Test.ghost()"

--- How many questions have reached the models.
local function requests(e)
  e:lua("Test.totals = nil; require('cosec.client').refresh_status(nil, function(s) Test.totals = s.totals end)")
  return e:wait("the status", "return Test.totals").requests
end

local function shown(e)
  local text = e:lua("return Test.ghost()")
  return text ~= vim.NIL and text or nil
end

local e = driver.start(setup(REAL), { file("db.py") })

--- The buffer as it was, and a suggestion for its last line.
local function suggestion()
  e:keys("<Esc>")
  e:lua("vim.api.nvim_buf_set_lines(0, 0, -1, false, ...)", CODE)
  e:keys("GA")
  return e:wait("a whole suggestion", FINAL, 120)
end

check("the first ghost text, models loaded on the way", function()
  e:wait("the server", READY, 30)
  local text = suggestion()
  ok(#text > 5, text)
  say(("     ghost text: %s"):format(vim.inspect(text)))
end)

check("accepting by words, a line, all; each one step of undo; no question reaches the models", function()
  local text = suggestion()
  local before = requests(e)
  local start = table.concat(CODE, "\n")
  e:keys("<M-Right>")
  local one = e:lua("return Test.text()")
  ok(#one > #start and vim.startswith(start .. text, one), one)
  equal(shown(e), (start .. text):sub(#one + 1), "the rest")
  e:wait("the server's rest", FINAL)
  ok(vim.startswith(start .. text, one .. shown(e)) or vim.startswith(one .. shown(e), start .. text), shown(e))
  e:keys("<M-Right>")
  local two = e:lua("return Test.text()")
  equal(requests(e), before, "questions that reached the models")
  e:keys("<M-l><Esc>")
  local line = e:lua("return Test.text()")
  ok(#line > #two, line)
  e:keys("u")
  equal(e:lua("return Test.text()"), two)
  e:keys("u")
  equal(e:lua("return Test.text()"), one)
  e:keys("u")
  equal(e:lua("return Test.text()"), start)
  text = suggestion()
  e:keys("<Tab><Esc>")
  equal(e:lua("return Test.text()"), start .. text)
  e:keys("u")
  equal(e:lua("return Test.text()"), start)
end)

check("typing through: in every frame, and no question reaches the models", function()
  local text = suggestion()
  local before = requests(e)
  local line = CODE[#CODE] .. text:match("^[^\n]*")
  local screen = e:attach()
  e:seen(line)
  screen:forget()
  local typed = text:match("^[^\n]*"):sub(1, -3)
  for key in typed:gmatch(".") do
    local n = #screen.frames
    e:keys(key == "<" and "<lt>" or key)
    vim.wait(5000, function()
      return #screen.frames > n
    end)
  end
  e:wait("the last answer", FINAL)
  equal(requests(e), before, "questions that reached the models")
  ok(#screen.frames >= #typed, "frames")
  for _, frame in ipairs(screen.frames) do
    equal(frame[#CODE], line, "a frame")
  end
  say(("     %d keys, %d frames"):format(#typed, #screen.frames))
  e:detach()
end)

check("leaving Insert mode while text streams: gone, and the models stop", function()
  e:keys("<Esc>")
  e:lua("vim.api.nvim_buf_set_lines(0, 0, -1, false, { 'class Stack:', '    def push(self, item):' })")
  e:keys("Go")
  e:wait("ghost text", "return Test.ghost()", 60)
  e:keys("<Esc>")
  equal(shown(e), nil)
  e:wait(
    "the models at rest",
    [[
    require('cosec.client').refresh_status(nil, function(s) Test.busy = s.busy end)
    return Test.busy == false]]
  )
  equal(shown(e), nil)
end)

check("candidates, and their numbers", function()
  suggestion()
  e:keys("<M-]>")
  e:wait("a second candidate", "return (Test.ghost() or ''):find('%(%d/%d%)') ~= nil", 120)
  say(("     %s"):format(vim.inspect(shown(e))))
end)

check(":CosecExplain shades the tokens and tells their numbers", function()
  suggestion()
  e:keys("<Esc>")
  e:lua("vim.cmd.CosecExplain()")
  e:wait("the view", "return vim.bo.filetype == 'cosec-explain'")
  local text = e:lua("return Test.text()")
  say("     " .. text:gsub("\n", "\n     "))
  ok(text:find("p %(base%) 0%.%d+") or text:find("p %(base%) 1%.%d+"), "numbers")
  ok(text:find("α = 0"), "alpha")
  local groups = e:lua([[
    local groups = {}
    local ns = vim.api.nvim_create_namespace("cosec.explain")
    for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true })) do
      groups[mark[4].hl_group or "mark"] = true
    end
    return vim.tbl_keys(groups)]])
  ok(vim.tbl_contains(groups, "CosecSecurity") or vim.tbl_contains(groups, "CosecBase"), vim.inspect(groups))
  local first = text
  e:keys("w")
  e:wait("another token's numbers", "return Test.text() ~= ...", 5, first)
  e:keys("q")
end)

check(":CosecStatus, and the words for a status line", function()
  e:lua("vim.cmd.CosecStatus()")
  e:wait("the window", "return vim.bo.filetype == 'cosec'")
  local text = e:lua("return Test.text()")
  say("     " .. text:gsub("\n", "\n     "))
  ok(text:find("Models%s+ready"), text)
  e:keys("q")
  local line = e:lua("return require('cosec').status()")
  say("     " .. line)
  ok(line:find("tok/s"), line)
end)

check(":checkhealth names what is there", function()
  e:lua("vim.cmd('checkhealth cosec')")
  local text = e:lua("return Test.text()")
  say("     " .. text:gsub("\n", "\n     "))
  for _, expected in ipairs({ "Neovim 0%.", "cosec%-ls %d", "Protocol version 2", "Models ready", "hardened", "Device" }) do
    ok(text:find(expected), "no " .. expected)
  end
  ok(not text:find("ERROR"), "an error")
  e:lua("vim.cmd.bwipeout()")
end)

-- Neovim 0.11 and later write down what deprecated functions were called.
if #vim.api.nvim_get_runtime_file("lua/vim/deprecated/health.lua", false) > 0 then
  check("nothing deprecated is used", function()
    e:lua("vim.cmd('checkhealth vim.deprecated')")
    local report = e:lua("return Test.text()")
    e:lua("vim.cmd.bwipeout()")
    ok(report:find("No deprecated functions detected"), report)
  end)
end

check("switching off: the language, the file, all, and back", function()
  for _, what in ipairs({ "language", "file", "all" }) do
    suggestion()
    e:keys("<Esc>")
    e:lua("vim.cmd.CosecToggle(...)", what)
    e:keys("A")
    e:wait("an answer", "return require('cosec.suggestion').answered(0)")
    equal(shown(e), nil, what)
    e:keys("<Esc>")
    e:lua("vim.cmd.CosecToggle(...)", what)
    suggestion()
  end
end)

check(":CosecMode outlives :CosecRestart, and arguments are completed", function()
  equal(e:lua("return vim.fn.getcompletion('CosecToggle ', 'cmdline')"), { "all", "language", "file" })
  equal(e:lua("return vim.fn.getcompletion('CosecMode s', 'cmdline')"), { "security" })
  ok(vim.tbl_contains(e:lua("return vim.fn.getcompletion('CosecProfile ', 'cmdline')"), "small"), "profiles")
  e:keys("<Esc>")
  local id = e:lua("return require('cosec.client').state.id")
  e:lua("vim.cmd.CosecMode('off')\nvim.cmd.CosecRestart()")
  e:wait(
    "another client",
    ("local s = require('cosec.client').state return s.id and s.id ~= %d and s.status ~= nil"):format(id)
  )
  equal(e:lua("return require('cosec.client').state.status.mode"), "off")
  e:lua("vim.cmd.CosecMode('cosec')")
  suggestion()
  e:wait("the mode", "return require('cosec.client').state.status.mode == 'cosec'")
end)

check("an excluded file: nothing, and the status says why", function()
  e:keys("<Esc>")
  e:lua("vim.cmd.edit({ args = { ... }, bang = true })", file(".env", { "PASSWORD=" }))
  e:wait("the buffer", "return vim.lsp.buf_is_attached(0, require('cosec.client').state.id)")
  e:keys("A")
  e:wait("an answer", "return require('cosec.suggestion').answered(0)")
  equal(shown(e), nil)
  e:keys("<Esc>")
  e:lua("vim.cmd.CosecStatus()")
  e:wait("the window", "return vim.bo.filetype == 'cosec'")
  local text = e:lua("return Test.text()")
  say("     " .. (text:match("This file[^\n]*") or "?"))
  ok(text:find("This file%s+not completed: "), text)
  e:keys("q")
  e:lua("vim.cmd.edit({ args = { ... }, bang = true })", dir .. "/db.py")
end)

check("kill -9 in the middle of a decode: said once, started again, completes again", function()
  e:wait("the server", READY, 120)
  -- A question that was answered before it was looked at is no decode to be in the middle of: then another one.
  local ANSWERED = "return require('cosec.suggestion').answered(0)"
  for i = 1, 10 do
    e:keys("<Esc>")
    e:lua("vim.api.nvim_buf_set_lines(0, 0, -1, false, { ... , '    def pop(self):' })", ("class Stack%d:"):format(i))
    e:keys("Go")
    e:wait("some text", "return Test.ghost() ~= nil or require('cosec.suggestion').answered(0)", 120)
    if not e:lua(ANSWERED) then
      break
    end
  end
  equal(e:lua(ANSWERED), false, "whether it is answered")
  local pid = e:child(server)
  ok(pid, "the server's process")
  e:lua("Test.messages = {}")
  vim.uv.kill(pid, 9)
  e:wait("the end of the ghost", "return Test.said('signal 9') == 1")
  e:wait("a new server's ghost text", FINAL, 120)
  equal(e:lua("return #Test.messages"), 1, "messages")
  equal(shown(e) ~= nil, true)
  say("     " .. e:lua("return Test.messages[1].text"))
  e:keys("<Esc>")
end)

e:stop()

check("a missing and a non-executable server: one sentence each, and health has the remedy", function()
  local plain = file("plain", { "#!/bin/sh" })
  for command, sentence in pairs({
    ["'/nowhere/cosec-ls'"] = "is not there",
    [("%q"):format(plain)] = "cannot be executed",
  }) do
    local other = driver.start(setup(command), { dir .. "/db.py" })
    other:wait("the sentence", ("return Test.said(%q) == 1"):format(sentence))
    other:lua("vim.cmd.edit(...)", file("b.py"))
    other:keys("Afoo<Tab><Esc>")
    other:lua("vim.wait(50)")
    equal(other:lua("return #Test.messages"), 1, "messages")
    say("     " .. other:lua("return Test.messages[1].text"))
    other:lua("vim.cmd('checkhealth cosec')")
    local text = other:lua("return Test.text()")
    ok(text:find(sentence) and text:find("ADVICE"), text)
    other:stop()
  end
end)

check("missing models and no network: one sentence each, and health has the remedy", function()
  local nothing = dir .. "/cache"
  local nowhere = "http://127.0.0.1:9"
  local env = {
    XDG_CACHE_HOME = nothing,
    HOME = nothing,
    HF_ENDPOINT = nowhere,
    PIP_INDEX_URL = nowhere,
    PIP_RETRIES = "0",
    PIP_CONFIG_FILE = "/dev/null",
  }
  local other = driver.start(setup(REAL), { dir .. "/db.py" }, env)
  other:wait("the sentence", "return Test.said('the models are not here yet %(%d+ MB%): `:CosecPull`') == 1")
  other:keys("A")
  other:wait("an answer", "return require('cosec.suggestion').answered(0)")
  other:keys("<Esc>")
  equal(other:lua("return #Test.messages"), 1, "messages")
  say("     " .. other:lua("return Test.messages[1].text"))
  other:lua("vim.cmd('checkhealth cosec')")
  local text = other:lua("return Test.text()")
  ok(text:find("ERROR The models of the profile small are missing") and text:find(":CosecPull downloads"), text)
  other:lua("vim.cmd.bwipeout()\nvim.cmd.CosecPull()")
  other:wait("the sentence", "return Test.said('the models cannot be had') == 1", 60)
  say("     " .. other:lua("return Test.messages[#Test.messages].text"))
  equal(other:lua("return require('cosec').status()"), "cosec: failed, :CosecStatus")
  other:lua("vim.cmd('checkhealth cosec')")
  text = other:lua("return Test.text()")
  ok(text:find("ERROR The models could not be loaded") and text:find("Connection refused"), text)
  other:stop()
end)

check("no call of setup: on by itself, from the PATH, also for a buffer without a name", function()
  local bin = dir .. "/bin"
  vim.fn.mkdir(bin)
  vim.uv.fs_symlink(server, bin .. "/cosec-ls")
  local init = "vim.g.cosec = { settings = { profile = 'small' } }"
  local other = driver.start(init, {}, { PATH = bin .. ":" .. vim.env.PATH })
  other:wait("the server", READY, 30)
  other:lua("vim.bo.filetype = 'python'")
  other:keys("ifor i in range(10):<CR>")
  other:wait("ghost text", FINAL, 120)
  other:stop()
end)

if vim.env.COSEC_ENABLE == "1" then
  check("vim.lsp.enable and setup at once: said once, one server", function()
    local enable = ([[vim.lsp.config("cosec_ls", { cmd = %s }) vim.lsp.enable("cosec_ls")]]):format(REAL)
    for _, init in ipairs({ enable .. "\n" .. setup(REAL), setup(REAL) .. "\n" .. enable }) do
      local other = driver.start(init, { dir .. "/db.py" })
      other:wait("the sentence", "return Test.said('as well as by this plugin') == 1")
      other:wait("one client", "return #vim.lsp.get_clients() == 1 and vim.lsp.get_clients()[1].name == 'cosec'")
      other:stop()
    end
  end)
end

check("another plugin with suggestions, and a taken key: health names them", function()
  local init = "vim.g.loaded_copilot = 1\n" .. setup("Test.cmd") .. "\nvim.keymap.set('i', '<Tab>', 'x')"
  local other = driver.start(init, { dir .. "/db.py" })
  other:wait(
    "the client",
    "return require('cosec.client').get() ~= nil and require('cosec.client').state.status ~= nil"
  )
  other:lua("vim.cmd('checkhealth cosec')")
  local text = other:lua("return Test.text()")
  ok(text:find("copilot.vim draws suggestions too"), text)
  ok(text:find("<Tab> is mapped by something else"), text)
  other:stop()
end)

check(":helptags is clean", function()
  local copy = dir .. "/doc"
  vim.fn.mkdir(copy)
  vim.fn.writefile(vim.fn.readfile(driver.plugin .. "/doc/cosec.txt"), copy .. "/cosec.txt")
  vim.cmd.helptags(copy)
  local tags = table.concat(vim.fn.readfile(copy .. "/tags"), "\n")
  for _, tag in ipairs({ "cosec.txt", "cosec-keys", ":CosecExplain", "cosec.setup()" }) do
    ok(tags:find("\n" .. tag, 1, true) or vim.startswith(tags, tag), tag)
  end
end)

vim.fn.delete(dir, "rf")
os.exit(driver.failed == 0 and 0 or 1)
