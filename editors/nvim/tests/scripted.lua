-- Checks against a server that says what it is told: races, keys, undo, errors. No models.
local driver = dofile(vim.fs.dirname(debug.getinfo(1, "S").source:sub(2)) .. "/driver.lua")
local check, equal, ok = driver.check, driver.equal, driver.ok

local dir = vim.fn.tempname()
vim.fn.mkdir(dir, "p")

---@param lines string[]
---@param name? string
---@return string
local function file(lines, name)
  local path = ("%s/%s"):format(dir, name or "a.py")
  vim.fn.mkdir(vim.fs.dirname(path), "p")
  vim.fn.writefile(lines, path)
  return path
end

---@param options? string
---@param lines? string[]
---@param before? string
local function editor(options, lines, before)
  local init = ('%s\nrequire("cosec").setup(vim.tbl_extend("force", { cmd = Test.cmd }, %s))'):format(
    before or "",
    options or "{}"
  )
  local e = driver.start(init, { file(lines or { "x = " }) })
  e:wait("the client", "return require('cosec.client').get() ~= nil and require('cosec.client').state.status ~= nil")
  return e
end

local QUESTION = "return #Test.questions > 0"

--- Begins to insert at the end of the line, and has the question answered.
local function suggested(e, text, keys, tail)
  e:keys(keys or "A")
  e:wait("a question", QUESTION)
  e:lua("local text, tail = ...\nTest.answer({ text }, nil, tail)", text, tail or 0)
  e:wait("ghost text", "return Test.ghost()")
end

local function ghost(e)
  local text = e:lua("return Test.ghost()")
  return text ~= vim.NIL and text or nil
end

local function with(options, lines, run, before)
  local e = editor(options, lines, before)
  local good, message = pcall(run, e)
  e:stop()
  if not good then
    error(message, 0)
  end
end

for _, display in ipairs(vim.env.COSEC_BUILTIN == "1" and { "builtin", "own" } or { "own" }) do
  local options = ("{ display = %q }"):format(display)
  local function named(claim)
    return ("%s [%s]"):format(claim, display)
  end

  check(named("Tab accepts all, one u takes it back, and the server is told"), function()
    with(options, nil, function(e)
      suggested(e, "foo(1)\n    bar(2)", "Ay")
      equal(ghost(e), "foo(1)\n    bar(2)")
      e:keys("<Tab>z<Esc>")
      equal(e:lua("return Test.text()"), "x = yfoo(1)\n    bar(2)z")
      equal(
        e:lua(
          "return vim.tbl_filter(function(s) return s.method == 'workspace/executeCommand' end, Test.sent)[1].params.command"
        ),
        "cosec-ls.didAccept"
      )
      e:keys("u")
      equal(e:lua("return Test.text()"), "x = yfoo(1)\n    bar(2)", "what was typed afterwards is a step of its own")
      e:keys("u")
      equal(e:lua("return Test.text()"), "x = y")
      e:keys("u")
      equal(e:lua("return Test.text()"), "x = ")
    end)
  end)

  check(named("word by word and line by line, each one step of undo, the rest stays"), function()
    with(options, nil, function(e)
      suggested(e, "foo(1)\nbar\nbaz")
      e:keys("<M-Right>")
      equal(e:lua("return Test.text()"), "x = foo")
      equal(ghost(e), "(1)\nbar\nbaz")
      e:keys("<M-l>")
      equal(e:lua("return Test.text()"), "x = foo(1)")
      equal(ghost(e), "\nbar\nbaz")
      e:keys("<M-l>")
      equal(e:lua("return Test.text()"), "x = foo(1)\nbar")
      e:keys("<Tab><Esc>u")
      equal(e:lua("return Test.text()"), "x = foo(1)\nbar")
      e:keys("u")
      equal(e:lua("return Test.text()"), "x = foo(1)")
      e:keys("uu")
      equal(e:lua("return Test.text()"), "x = ")
    end)
  end)

  check(named("typing through keeps it in every frame, another key takes it away at once"), function()
    with(options, nil, function(e)
      suggested(e, "foobar")
      local screen = e:attach()
      e:seen("x = foobar")
      screen:forget()
      for _, key in ipairs({ "f", "o", "o" }) do
        local n = #screen.frames
        e:keys(key)
        vim.wait(5000, function()
          return #screen.frames > n
        end)
      end
      equal(ghost(e), "bar")
      ok(#screen.frames >= 3, "frames")
      for _, frame in ipairs(screen.frames) do
        equal(frame[1], "x = foobar", "a frame")
      end
      e:keys("X")
      equal(ghost(e), nil)
      equal(e:lua("return require('cosec').visible()"), false)
      e:keys("<Tab>")
      equal(e:lua("return Test.text()"), "x = fooX\t")
    end)
  end)

  check(named("an answer that comes after more was typed fits, or is not shown"), function()
    with(options, nil, function(e)
      e:keys("A")
      e:wait("a question", QUESTION)
      e:lua("Test.automatic = function() return nil end")
      e:keys("f")
      local n = e:lua("return #Test.questions")
      e:lua("Test.answer({ 'foo' }, ...)", n - 1)
      e:lua("Test.answer({ 'oo' }, ...)", n)
      equal(e:wait("ghost text", "return Test.ghost()"), "oo")
      e:keys("<BS>g")
      e:lua("Test.answer({ 'oo' }, ...)", n)
      e:lua("vim.wait(50)")
      equal(ghost(e), nil)
    end)
  end)

  check(named("text streams, and one step of undo takes all of it"), function()
    with(options, nil, function(e)
      e:keys("A")
      e:wait("a question", QUESTION)
      e:lua("Test.stream({ 'foo' })")
      equal(e:wait("ghost text", "return Test.ghost()"), "foo")
      e:lua("Test.stream({ 'foo(1)\\nbar' })")
      e:wait("more", "return Test.ghost() == 'foo(1)\\nbar'")
      e:keys("<Tab><Esc>u")
      equal(e:lua("return Test.text()"), "x = ")
    end)
  end)

  check(named("leaving Insert mode clears it and stops the question, also by <C-c>"), function()
    for _, key in ipairs({ "<Esc>", "<C-c>" }) do
      with(options, nil, function(e)
        e:keys("A")
        e:wait("a question", QUESTION)
        e:lua("Test.stream({ 'foo' })")
        e:wait("ghost text", "return Test.ghost()")
        e:keys(key)
        e:wait("a mode", "return vim.api.nvim_get_mode().mode == 'n'")
        equal(ghost(e), nil)
        e:wait("$/cancelRequest", "return Test.count('$/cancelRequest') > 0")
        e:lua("Test.stream({ 'foobar' })\nTest.answer({ 'foobar' })\nvim.wait(300)")
        equal(ghost(e), nil, "late answers")
      end)
    end
  end)

  check(named("candidates: next asks for more, and goes round"), function()
    with(options, nil, function(e)
      suggested(e, "one")
      local n = e:lua("return #Test.questions")
      e:keys("<M-]>")
      e:wait("the question", ("return #Test.questions > %d"):format(n))
      equal(e:lua("return Test.questions[#Test.questions].params.context.triggerKind"), 1)
      e:lua("Test.answer({ 'one', 'two', 'three' })")
      e:wait("the second", "return (Test.ghost() or ''):find('^two') ~= nil")
      e:keys("<M-]>")
      ok(ghost(e):find("^three"), ghost(e))
      e:keys("<M-]>")
      ok(ghost(e):find("^one"), ghost(e))
      e:keys("<M-[>")
      ok(ghost(e):find("^three"), ghost(e))
      e:keys("t")
      ok(ghost(e):find("^hree"), ghost(e))
      e:keys("<Tab>")
      equal(e:lua("return Test.text()"), "x = three")
    end)
  end)

  check(named("dismissed is dismissed until something is typed"), function()
    with(options, nil, function(e)
      e:lua("Test.automatic = function(p) return { Test.item(p, 'foo') } end")
      e:keys("A")
      e:wait("ghost text", "return Test.ghost()")
      e:keys("<C-]>")
      equal(ghost(e), nil)
      e:lua("vim.wait(400)")
      equal(ghost(e), nil)
      e:keys("z")
      e:wait("ghost text", "return Test.ghost()")
    end)
  end)

  check(named("what closes to the right comes once"), function()
    with(options, { "f()" }, function(e)
      suggested(e, "a, g(b))", "f)i", 1)
      e:keys("<Tab>")
      equal(e:lua("return Test.text()"), "f(a, g(b))")
      e:keys("<Esc>u")
      equal(e:lua("return Test.text()"), "f()")
    end)
    with(options, { "f()" }, function(e)
      suggested(e, "a)", "f)i", 1)
      e:keys("<M-Right>")
      equal(e:lua("return Test.text()"), "f(a)")
    end)
  end)

  check(named("CRLF, tabs, multibyte text and 'virtualedit' stay as they are"), function()
    with(options, { "\tнаïve = '🙂" }, function(e)
      e:lua("vim.bo.fileformat = 'dos'")
      suggested(e, "é🙂'\n\tб = 2")
      e:keys("<M-Right>")
      e:keys("<Tab>")
      equal(e:lua("return Test.text()"), "\tнаïve = '🙂é🙂'\n\tб = 2")
      equal(e:lua("return vim.bo.fileformat"), "dos")
      equal(
        e:lua(
          "return vim.tbl_filter(function(s) return s.method == 'textDocument/didPartiallyAcceptCompletion' end, Test.sent)[1].params.acceptedLength"
        ),
        3
      )
    end)
    with(options, { "ab" }, function(e)
      e:lua("vim.o.virtualedit = 'all'")
      suggested(e, "foo", "A")
      e:keys("<Tab>")
      equal(e:lua("return Test.text()"), "abfoo")
    end)
  end)

  check(named("the popup menu hides it, and Tab does what it did before"), function()
    with(options, { "alpha alpine", "al" }, function(e)
      e:lua("Test.automatic = function(p) return { Test.item(p, 'foo') } end")
      e:keys("GA")
      e:wait("ghost text", "return Test.ghost()")
      e:keys("<C-n>")
      e:wait("the menu", "return vim.fn.pumvisible() == 1")
      equal(ghost(e), nil)
      e:keys("<C-e>")
      e:wait("ghost text", "return Test.ghost()")
    end)
  end)

  check(named("a macro is recorded and played without suggestions; . repeats what was accepted"), function()
    with(options, { "a", "b", "c" }, function(e)
      e:lua("Test.automatic = function(p) return { Test.item(p, 'foo') } end")
      e:keys("qqA\t1<Esc>q")
      equal(e:lua("return Test.text()"), "a\t1\nb\nc")
      e:keys("j@q")
      equal(e:lua("return Test.text()"), "a\t1\nb\t1\nc")
      e:keys("jAx")
      e:wait("ghost text", "return Test.ghost()")
      e:lua("Test.automatic = nil")
      e:keys("<Tab>y<Esc>")
      equal(e:lua("return vim.api.nvim_get_current_line()"), "cxfooy")
      e:keys("kk.")
      equal(e:lua("return vim.api.nvim_get_current_line()"), "a\t1xfooy")
    end)
  end)

  check(named("the server dies: said once, started again, asked again; and left alone if it goes on"), function()
    with(options, nil, function(e)
      suggested(e, "foo")
      local n = e:lua("return #Test.questions")
      e:lua("Test.die(0, 9)")
      e:wait("the end of the ghost", "return Test.ghost() == nil")
      e:wait("a new server", "return Test.spawned == 2 and require('cosec.client').get() ~= nil")
      e:wait("a new question", ("return #Test.questions > %d"):format(n))
      e:lua("Test.answer({ 'bar' })")
      equal(e:wait("ghost text", "return Test.ghost()"), "bar")
      equal(e:lua("return Test.said('signal 9')"), 1)
      -- Five crashes are as many as it starts again after.
      for i = 3, 6 do
        e:lua("Test.die(134, 0)")
        e:wait("server " .. i, ("return Test.spawned == %d and require('cosec.client').get() ~= nil"):format(i))
      end
      e:lua("Test.die(134, 0)")
      e:wait("the end", "return Test.said('left alone') == 1")
      equal(#e:lua("return Test.messages"), 2, "messages")
      e:lua("vim.cmd.CosecRestart()")
      e:wait("a new server", "return require('cosec.client').get() ~= nil")
    end)
  end)
end

check("Tab keeps an older map, and keys can be chosen or none", function()
  local older = "vim.keymap.set('i', '<Tab>', function() return 'OLD' end, { expr = true })"
  with(nil, nil, function(e)
    e:keys("A<Tab>")
    equal(e:lua("return Test.text()"), "x = OLD")
    e:lua("Test.answer({ 'foo' })")
    e:wait("ghost text", "return Test.ghost()")
    e:keys("<Tab>")
    equal(e:lua("return Test.text()"), "x = OLDfoo")
  end, older)
  with("{ keys = { accept = '<C-y>', accept_word = false } }", nil, function(e)
    suggested(e, "foo bar")
    equal(e:lua("return vim.fn.maparg('<M-Right>', 'i')"), "")
    e:keys("<C-y>")
    equal(e:lua("return Test.text()"), "x = foo bar")
  end)
  with("{ keys = false }", nil, function(e)
    e:lua("vim.keymap.set('i', '<C-f>', '<Plug>(cosec-accept-word)')")
    suggested(e, "foo bar")
    e:keys("<C-f>")
    equal(e:lua("return Test.text()"), "x = foo")
  end)
end)

check("who asks and gets nothing is told why", function()
  local before =
    [[Test.status = { models = { state = "ready" }, document = { completed = true, lastEmptyReason = "REASON" } }]]
  with(nil, nil, function(e)
    e:attach()
    e:lua("Test.automatic = function() return {} end")
    e:keys("A")
    e:wait("the answer", "return require('cosec.suggestion').answered(0)")
    e:keys("<M-\\>")
    e:seen("x =  cosec: REASON")
    equal(e:lua("return require('cosec').visible()"), false)
    e:keys("z")
    e:wait("the end of the remark", "return Test.ghost() == nil")
  end, before)
end)

check("wrong options are named, the others count", function()
  with("{ dispaly = 1, download = 'maybe', keys = { accpet = 'x' }, display = 'own' }", nil, function(e)
    equal(e:lua("return Test.said('`dispaly` is no option')"), 1)
    equal(e:lua("return Test.said('`download` is \"maybe\"')"), 1)
    equal(e:lua("return Test.said('`keys.accpet` is no option')"), 1)
    suggested(e, "foo")
  end)
end)

check("ten folders, ten buffers: one server, told of all folders", function()
  local files = {}
  for i = 1, 10 do
    vim.fn.mkdir(("%s/p%d/.git"):format(dir, i), "p")
    files[i] = file({ "x = " }, ("p%d/a.py"):format(i))
  end
  with(nil, nil, function(e)
    for _, path in ipairs(files) do
      e:lua("vim.cmd.edit(...)", path)
    end
    e:wait("ten buffers", "return vim.tbl_count(require('cosec.client').get().attached_buffers) == 11")
    equal(e:lua("return Test.spawned"), 1)
    equal(#e:lua("return require('cosec.client').state.folders"), 10)
    equal(e:lua("return Test.count('workspace/didChangeWorkspaceFolders')"), 10)
    suggested(e, "foo")
  end)
end)

check("a buffer that is read again goes on", function()
  with(nil, nil, function(e)
    e:lua("Test.automatic = function(p) return { Test.item(p, 'foo') } end")
    e:keys("A")
    e:wait("ghost text", "return Test.ghost()")
    e:keys("<Esc>")
    e:lua("vim.cmd.edit({ bang = true })\nvim.wait(50)")
    e:keys("A")
    e:wait("ghost text", "return Test.ghost()")
    e:keys("<Esc>")
    e:lua([[
      local id = require('cosec.client').state.id
      vim.lsp.buf_detach_client(0, id)
      vim.lsp.buf_attach_client(0, id)]])
    e:keys("A")
    e:wait("ghost text", "return Test.ghost()")
    e:keys("z")
    e:wait("ghost text", "return Test.ghost() == 'foo'")
    equal(e:lua("return vim.v.errmsg"), "")
  end)
end)

check("no attaching to terminals, help and lists; the buffer without a name is attached", function()
  with(nil, nil, function(e)
    e:lua("vim.cmd('copen | terminal')\nvim.cmd('new | setlocal buftype=nofile')\nvim.cmd.new()\nvim.wait(50)")
    local types = e:lua([[return vim.tbl_map(function(b) return vim.bo[b].buftype end,
      vim.tbl_keys(require('cosec.client').get().attached_buffers))]])
    equal(types, { "", "" })
  end)
end)

check("a server of another version: one sentence", function()
  with(nil, nil, function(e)
    equal(e:lua("return Test.said('older than this plugin')"), 1)
    equal(#e:lua("return Test.messages"), 1)
  end, "Test.protocol = 1")
end)

check("missing models: one message with size and remedy, no prompt", function()
  local before = [[
    Test.status = { models = { state = "missing", profile = "default", downloadBytes = 1615000000 } }
    vim.ui.select = function() error("a prompt") end
  ]]
  with(nil, nil, function(e)
    e:wait("the message", "return Test.said('1.6 GB') == 1")
    e:lua("Test.dispatchers.notification('cosec/didChangeStatus', Test.status)\nvim.wait(50)")
    equal(#e:lua("return Test.messages"), 1)
    equal(e:lua("return require('cosec').status()"), "cosec: models missing, :CosecPull")
  end, before)
end)

check("nvim-cmp's and blink.cmp's interfaces: the entry replaces the word before the cursor", function()
  with("{ display = 'none' }", { "é = fo" }, function(e)
    e:lua([[Test.automatic = function(p) return { Test.item(p, 'o(1)\n  bar') } end]])
    e:keys("A")
    e:lua(
      [[require('cosec.cmp').new():complete({ completion_context = { triggerKind = 1 } }, function(r) Test.cmp = r end)]]
    )
    local item = e:wait("the entry", "return Test.cmp").items[1]
    equal(item.label, "foo(1)")
    equal(item.textEdit, {
      newText = "foo(1)\n  bar",
      range = { start = { line = 0, character = 5 }, ["end"] = { line = 0, character = 7 } },
    })
    e:lua(
      [[require('cosec.blink').new():get_completions({ trigger = { kind = 'keyword' } }, function(r) Test.blink = r end)]]
    )
    local other = e:wait("the entry", "return Test.blink").items[1]
    equal(other.textEdit, item.textEdit)
    e:lua(
      [[require('cosec.cmp').new():execute(Test.cmp.items[1], function() end)
      require('cosec.blink').new():execute({}, Test.blink.items[1], function() end, function() Test.inserted = true end)]]
    )
    equal(e:lua("return Test.inserted"), true)
    equal(e:lua("return Test.count('workspace/executeCommand')"), 2)
  end)
end)

vim.fn.delete(dir, "rf")
os.exit(driver.failed == 0 and 0 or 1)
