--- Ghost text by Neovim's own `vim.lsp.inline_completion`, 0.12 and later.
---
--- It gets its items through `cosec.rpc`, in the form that suits its ways: always from the cursor on, with what is
--- typed already taken off. It redraws a stale item cut by what was typed even where that does not agree, and its `get()`
--- would insert the whole of it; an item that begins at the cursor can do neither.
local api = vim.api
local ghost = require("cosec.ghost")
local rpc = require("cosec.rpc")

local M = {}

local namespace = api.nvim_create_namespace("nvim.lsp.inline_completion")

--- Whether it is on for this buffer: users may switch it off by its own function.
---@param buf integer
---@return boolean
local function active(buf)
  local client = require("cosec.client").get()
  local enabled = client and vim.lsp.inline_completion.is_enabled({ bufnr = buf, client_id = client.id })
  return enabled == true and vim.lsp.buf_is_attached(buf, client.id)
end

---@param buf integer
---@param items lsp.InlineCompletionItem[]
---@return boolean delivered
local function deliver(buf, items)
  local sink = rpc.sinks[buf]
  if sink and not active(buf) then
    rpc.sinks[buf], sink = nil, nil
  end
  if sink then
    sink(items)
  end
  return sink ~= nil
end

---@param buf integer
---@param lefts cosec.Left[]
---@param index integer
---@param hint string?
function M.show(buf, lefts, index, hint)
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local items = {}
  for i, left in ipairs(lefts) do
    items[i] = {
      insertText = left.text,
      range = {
        start = { line = row, character = col },
        ["end"] = { line = row, character = col + #left.tail },
      },
      command = left.command,
    }
  end
  ghost.clear(buf)
  if not deliver(buf, items) then
    -- It takes items only once it has asked, which it does 200 ms after a key that no other follows.
    if active(buf) then
      ghost.show(buf, lefts, index, hint)
    end
  elseif index > 1 or hint then
    vim.lsp.inline_completion.select({ bufnr = buf, count = index - 1 })
  end
end

---@param buf integer
function M.clear(buf)
  if not api.nvim_buf_is_valid(buf) then
    return
  end
  ghost.clear(buf)
  deliver(buf, {})
  -- It takes nothing outside of Insert mode, and does not notice when that is left by <C-c>.
  api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
end

return M
