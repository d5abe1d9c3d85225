--- Windows with text that is read: floating, closed by `q` or <Esc>.
local api = vim.api

local M = {}

--- A buffer of that text that cannot be edited.
---@param lines string[]
---@param filetype string
---@return integer buf
function M.buffer(lines, filetype)
  local buf = api.nvim_create_buf(false, true)
  api.nvim_buf_set_lines(buf, 0, -1, false, lines)
  vim.bo[buf].modifiable = false
  vim.bo[buf].bufhidden = "wipe"
  vim.bo[buf].filetype = filetype
  return buf
end

---@param buf integer
function M.close_keys(buf)
  for _, key in ipairs({ "q", "<Esc>" }) do
    vim.keymap.set("n", key, "<Cmd>close<CR>", { buffer = buf, nowait = true, desc = "Close" })
  end
end

--- Opens a floating window of the text's size, and goes into it.
---@param title string
---@param lines string[]
---@return integer win
function M.float(title, lines)
  local width = #title + 4
  for _, line in ipairs(lines) do
    width = math.max(width, api.nvim_strwidth(line))
  end
  width = math.min(width, math.max(20, vim.o.columns - 6))
  local height = 0
  for _, line in ipairs(lines) do
    height = height + math.max(1, math.ceil(api.nvim_strwidth(line) / width))
  end
  height = math.max(1, math.min(height, vim.o.lines - 6))
  local buf = M.buffer(lines, "cosec")
  local win = api.nvim_open_win(buf, true, {
    relative = "editor",
    row = math.floor((vim.o.lines - height) / 2) - 1,
    col = math.floor((vim.o.columns - width) / 2),
    width = width,
    height = height,
    style = "minimal",
    border = "rounded",
    title = (" %s "):format(title),
  })
  vim.wo[win].wrap = true
  vim.wo[win].linebreak = true
  M.close_keys(buf)
  return win
end

return M
