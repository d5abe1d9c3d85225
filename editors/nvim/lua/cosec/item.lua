--- One suggestion in one buffer: what of it is left at the cursor, and how a piece of it gets into the buffer.
---
--- Nothing is kept or trimmed here that the server does not say: what is left is the item's text without what stands in
--- the buffer already, and if the buffer says something else nothing is left.
local api = vim.api

local M = {}

---@class cosec.Item
---@field raw lsp.InlineCompletionItem As received.
---@field text string
---@field row integer Start of its range, from 0.
---@field col integer In bytes.
---@field before string The line in front of its range when it was asked for.
---@field rest string The line behind the cursor then.
---@field tail string What of `rest` it takes the place of.

---@class cosec.Left
---@field text string What would be inserted at the cursor.
---@field tail string What behind the cursor it takes the place of.
---@field typed string What of the item is in the buffer.

--- Reads an item that answers a question asked at `cursor` (row and byte column, from 0) in `line`.
---@param raw lsp.InlineCompletionItem
---@param cursor {[1]: integer, [2]: integer}
---@param line string
---@return cosec.Item
function M.read(raw, cursor, line)
  local range = raw.range
  local rest = line:sub(cursor[2] + 1)
  local first = range and range.start or { line = cursor[1], character = cursor[2] }
  local last = range and range["end"].character or cursor[2]
  return {
    raw = raw,
    text = type(raw.insertText) == "table" and raw.insertText.value or raw.insertText --[[@as string]],
    row = first.line,
    col = first.character,
    before = line:sub(1, first.character),
    rest = rest,
    tail = rest:sub(1, math.max(0, last - cursor[2])),
  }
end

--- What is left of the item at the cursor of the current window, or nil if the buffer says something else.
---@param item cosec.Item
---@param buf integer
---@return cosec.Left?
function M.left(item, buf)
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local first = api.nvim_buf_get_lines(buf, item.row, item.row + 1, false)[1]
  local in_front = row < item.row or (row == item.row and col < item.col)
  if in_front or not first or first:sub(1, item.col) ~= item.before then
    return nil
  end
  local ok, lines = pcall(api.nvim_buf_get_text, buf, item.row, item.col, row, col, {})
  if not ok then
    return nil
  end
  local typed = table.concat(lines, "\n")
  local line = api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ""
  if not vim.startswith(item.text, typed) or line:sub(col + 1) ~= item.rest then
    return nil
  end
  local text = item.text:sub(#typed + 1)
  if text == "" or text == item.tail then
    return nil
  end
  return { text = text, tail = item.tail, typed = typed }
end

local BLANKS_AND_WORD = [[^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)]]

--- The length of the piece that is accepted, in bytes.
---@param text string
---@param piece "all"|"line"|"word"
---@return integer
function M.length(text, piece)
  if piece == "line" then
    local stop = text:find("\n", 1, true)
    if stop == 1 then
      stop = text:find("\n", 2, true)
    end
    return stop and stop - 1 or #text
  elseif piece == "word" then
    local word = vim.fn.matchstr(text, BLANKS_AND_WORD)
    return word ~= "" and #word or #text
  end
  return #text
end

--- Inserts at the cursor as if typed, so that `.` repeats it: `nvim_paste` alone puts text into the redo buffer.
--- `vim.paste` is what a user may have replaced to look at what is pasted; this is no paste, so it is bypassed.
---@param text string
local function insert(text)
  local paste = vim.paste
  ---@diagnostic disable-next-line: duplicate-set-field
  vim.paste = function(lines)
    api.nvim_put(lines, "c", false, true)
    return true
  end
  local ok, message = pcall(api.nvim_paste, text, false, -1)
  vim.paste = paste
  if not ok then
    error(message, 0)
  end
end

--- Puts a piece of what is left into the current buffer, as one step of undo.
---@param left cosec.Left
---@param piece "all"|"line"|"word"
---@return integer accepted Bytes of `left.text` that stand in the buffer.
function M.accept(left, piece)
  local n = M.length(left.text, piece)
  local tail = 0
  if left.tail ~= "" then
    -- What closes to the right comes once, however much of the item is taken.
    local first, last = left.text:find(left.tail, 1, true)
    if n == #left.text or not first then
      tail, n = #left.tail, #left.text
    elseif n >= first then
      tail, n = #left.tail, math.max(n, last)
    end
  end
  local cursor = api.nvim_win_get_cursor(0)
  -- Setting 'undolevels' ends a step of undo, also in Insert mode; what is typed afterwards gets a step of its own by
  -- the key that does so.
  vim.bo.undolevels = vim.bo.undolevels
  if tail > 0 then
    api.nvim_buf_set_text(0, cursor[1] - 1, cursor[2], cursor[1] - 1, cursor[2] + tail, {})
  end
  insert(left.text:sub(1, n))
  api.nvim_feedkeys(vim.keycode("<C-g>u"), "ni", false)
  return n
end

return M
