--- What passes between Neovim's client and the server, with the questions of the built-in inline completion taken out.
---
--- The built-in `vim.lsp.inline_completion` (0.12) asks 200 ms after each key, takes one answer per question, does not
--- stop an old question when it asks a new one, and lets late answers overwrite newer ones. `cosec.suggestion` asks at
--- once, streams, and knows what is stale. So the built-in's question never reaches the server: its callback is kept
--- as the way to hand it a list of items, as often as there is a new one. Everything else passes as it is.
local M = {}

--- By buffer: hands items to the built-in inline completion.
---@type table<integer, fun(items: lsp.InlineCompletionItem[])>
M.sinks = {}

--- Called with the buffer when the built-in has asked.
---@type fun(buf: integer)?
M.on_builtin_question = nil

local METHOD = "textDocument/inlineCompletion"
local next_id = -1

---@param params table
---@return integer buf
local function buffer_of(params)
  local current = vim.api.nvim_get_current_buf()
  if vim.uri_from_bufnr(current) == params.textDocument.uri then
    return current
  end
  return vim.uri_to_bufnr(params.textDocument.uri)
end

---@param params table
---@param callback fun(err: any, result: any, id: integer)
---@param notify_reply fun(id: integer)?
---@return boolean, integer
local function keep(params, callback, notify_reply)
  local id = next_id
  next_id = next_id - 1
  local buf = buffer_of(params)
  M.sinks[buf] = function(items)
    callback(nil, { items = items }, id)
  end
  vim.schedule(function()
    if notify_reply then
      notify_reply(id)
    end
    if M.on_builtin_question then
      M.on_builtin_question(buf)
    end
  end)
  return true, id
end

--- Starts the server; a `cmd` of `vim.lsp.start`. How the server ends is told to `on_exit` alone: Neovim would say it too,
--- with every crash.
---@param cmd string[]|fun(dispatchers: table): table
---@param dispatchers table
---@param on_exit fun(code: integer, signal: integer)
---@return table? rpc
function M.start(cmd, dispatchers, on_exit)
  local told = dispatchers.on_exit
  dispatchers = vim.tbl_extend("force", dispatchers, {
    on_exit = function(code, signal)
      on_exit(code, signal)
      told(0, 0)
    end,
  })
  local raw = type(cmd) == "function" and cmd(dispatchers) or vim.lsp.rpc.start(cmd, dispatchers)
  if not raw then
    return nil
  end
  local rpc = setmetatable({}, { __index = raw })
  function rpc.request(method, params, callback, notify_reply)
    if method == METHOD and params.partialResultToken == nil then
      return keep(params, callback, notify_reply)
    end
    return raw.request(method, params, callback, notify_reply)
  end
  function rpc.notify(method, params)
    if method == "$/cancelRequest" and type(params.id) == "number" and params.id < 0 then
      return true
    end
    return raw.notify(method, params)
  end
  function rpc.is_closing()
    return raw.is_closing()
  end
  function rpc.terminate()
    return raw.terminate()
  end
  return rpc
end

return M
