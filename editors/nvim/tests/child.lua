-- Loaded by the Neovim under test: what the driver asks it about.
Test = { messages = {} }

vim.g.python_recommended_style = 0
vim.o.swapfile = false
vim.o.shadafile = "NONE"
vim.o.columns, vim.o.lines = 120, 40
vim.notify = function(text, level)
  table.insert(Test.messages, { text = text, level = level })
end
local once = {}
vim.notify_once = function(text, level)
  if not once[text] then
    once[text] = true
    vim.notify(text, level)
  end
end

local NAMESPACES = { "cosec.ghost", "nvim.lsp.inline_completion" }

--- The ghost text in the current buffer, its lines joined by "\n", or nil.
function Test.ghost(buf)
  local text ---@type string?
  for _, name in ipairs(NAMESPACES) do
    local namespace = vim.api.nvim_create_namespace(name)
    for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(buf or 0, namespace, 0, -1, { details = true })) do
      local function chunks(list)
        local joined = ""
        for _, chunk in ipairs(list or {}) do
          joined = joined .. chunk[1]
        end
        return joined
      end
      local lines = { chunks(mark[4].virt_text) }
      for _, line in ipairs(mark[4].virt_lines or {}) do
        lines[#lines + 1] = chunks(line)
      end
      text = (text or "") .. table.concat(lines, "\n")
    end
  end
  return text ~= "" and text or nil
end

function Test.text()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
end

--- Messages that hold a pattern.
function Test.said(pattern)
  local n = 0
  for _, message in ipairs(Test.messages) do
    n = n + (message.text:find(pattern) and 1 or 0)
  end
  return n
end

--- A server that says what it is told: questions wait in `Test.questions` until `Test.answer` answers them.
Test.questions, Test.sent, Test.spawned = {}, {}, 0
Test.automatic = nil ---@type fun(params: table): table[]?

function Test.cmd(dispatchers)
  Test.spawned = Test.spawned + 1
  local rpc, closed, n = {}, false, 0
  Test.rpc, Test.dispatchers = rpc, dispatchers
  local results = {
    initialize = function()
      return {
        capabilities = {
          positionEncoding = "utf-8",
          textDocumentSync = { openClose = true, change = 2 },
          inlineCompletionProvider = vim.empty_dict(),
          executeCommandProvider = { commands = { "cosec-ls.didAccept" } },
          workspace = { workspaceFolders = { supported = true, changeNotifications = true } },
          experimental = { cosec = { version = Test.protocol or 2 } },
        },
        serverInfo = { name = "cosec-ls", version = "0.0.0" },
      }
    end,
    ["cosec/status"] = function()
      return Test.status or { models = { state = "ready" }, enabled = true }
    end,
  }
  function rpc.request(method, params, callback, notify_reply)
    n = n + 1
    local id = n
    table.insert(Test.sent, { method = method, params = params })
    local function reply(err, result)
      vim.schedule(function()
        if notify_reply then
          notify_reply(id)
        end
        if not (err and err.code == -32800) then
          callback(err, result, id)
        end
      end)
    end
    if method == "textDocument/inlineCompletion" then
      table.insert(Test.questions, { params = params, reply = reply })
      local items = Test.automatic and Test.automatic(params)
      if items then
        reply(nil, { items = items })
      end
    else
      local result = results[method]
      reply(nil, result and result() or vim.NIL)
    end
    return true, id
  end
  function rpc.notify(method, params)
    table.insert(Test.sent, { method = method, params = params })
    return true
  end
  function rpc.is_closing()
    return closed
  end
  function rpc.terminate()
    closed = true
    dispatchers.on_exit(0, 15)
  end
  Test.die = function(code, signal)
    closed = true
    dispatchers.on_exit(code, signal)
  end
  return rpc
end

--- An item at the place of a question.
function Test.item(params, text, tail)
  local at = params.position
  return {
    insertText = text,
    range = { start = at, ["end"] = { line = at.line, character = at.character + (tail or 0) } },
    command = { title = "", command = "cosec-ls.didAccept", arguments = { { id = #Test.questions } } },
  }
end

--- Answers the last question, or the one of that index.
function Test.answer(texts, index, tail)
  local question = Test.questions[index or #Test.questions]
  local items = {}
  for i, text in ipairs(texts) do
    items[i] = Test.item(question.params, text, tail)
  end
  question.reply(nil, { items = items })
end

--- Sends a partial result for the last question.
function Test.stream(texts)
  local question = Test.questions[#Test.questions]
  local items = {}
  for i, text in ipairs(texts) do
    items[i] = Test.item(question.params, text)
  end
  Test.dispatchers.notification("$/progress", {
    token = question.params.partialResultToken,
    value = { items = items },
  })
end

function Test.count(method)
  local n = 0
  for _, sent in ipairs(Test.sent) do
    n = n + (sent.method == method and 1 or 0)
  end
  return n
end
