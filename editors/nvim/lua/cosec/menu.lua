--- Suggestions as entries of a completion menu, for the sources of nvim-cmp and blink.cmp.
local suggestion = require("cosec.suggestion")

local M = {}

local PLAIN_TEXT, AS_IS, TEXT_KIND, LABEL = 1, 1, 1, 60

--- The entry takes the place of the word before the cursor, so that menus filter it as they do words.
---@param item cosec.Item
---@param buf integer
---@return lsp.CompletionItem?
local function entry(item, buf)
  local left = require("cosec.item").left(item, buf)
  if not left then
    return nil
  end
  local cursor = vim.api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local word = vim.fn.matchstr(vim.api.nvim_get_current_line():sub(1, col), [[\k*$]])
  local text = word .. left.text
  local first = vim.trim(vim.split(text, "\n", { plain = true })[1])
  if first == "" then
    first = vim.trim(text):match("^[^\n]*")
  end
  return {
    label = vim.fn.strcharpart(first, 0, LABEL),
    kind = TEXT_KIND,
    detail = "cosec",
    documentation = {
      kind = "markdown",
      value = ("```%s\n%s\n```"):format(vim.bo[buf].filetype, text),
    },
    filterText = word ~= "" and text:match("^[^\n]*") or first,
    insertTextFormat = PLAIN_TEXT,
    insertTextMode = AS_IS,
    textEdit = {
      newText = text,
      range = {
        start = { line = row, character = col - #word },
        ["end"] = { line = row, character = col + #left.tail },
      },
    },
    data = { command = item.raw.command },
  }
end

--- Gives the entries for the cursor once the server has answered; their columns are bytes.
---@param kind 1|2 1: the user has asked for the menu.
---@param done fun(entries: lsp.CompletionItem[])
---@return fun() cancel
function M.entries(kind, done)
  local buf = vim.api.nvim_get_current_buf()
  return suggestion.await(buf, kind, function(list)
    local entries = {}
    if buf == vim.api.nvim_get_current_buf() then
      for _, item in ipairs(list) do
        entries[#entries + 1] = entry(item, buf)
      end
    end
    done(entries)
  end)
end

--- Tells the server that the entry was taken.
---@param taken lsp.CompletionItem
function M.taken(taken)
  local command = vim.tbl_get(taken, "data", "command")
  if command then
    require("cosec.client").execute(command.command, command.arguments or {}, function() end)
  end
end

---@return boolean
function M.available()
  local id = require("cosec.client").state.id
  return id ~= nil and vim.lsp.buf_is_attached(0, id)
end

return M
