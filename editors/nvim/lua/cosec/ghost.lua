--- Ghost text by extmarks, for Neovim before 0.12, and wherever `display = "own"`.
local api = vim.api

local M = {}

local namespace = api.nvim_create_namespace("cosec.ghost")

--- Tabs as blanks, for virtual text shows them as `^I`.
---@param text string
---@param column integer Display column of its start.
---@return string
local function expand(text, column)
  if not text:find("\t", 1, true) then
    return text
  end
  local width = vim.bo.tabstop
  local parts = {}
  for part, tab in text:gmatch("([^\t]*)(\t?)") do
    parts[#parts + 1] = part
    column = column + api.nvim_strwidth(part)
    if tab ~= "" then
      local blanks = width - column % width
      parts[#parts + 1] = (" "):rep(blanks)
      column = column + blanks
    end
  end
  return table.concat(parts)
end

--- Draws what is left of the chosen item at the cursor.
---@param buf integer
---@param lefts cosec.Left[]
---@param index integer
---@param hint string?
function M.show(buf, lefts, index, hint)
  M.clear(buf)
  local left = lefts[index]
  if not left then
    return
  end
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local lines = vim.split(left.text, "\n", { plain = true })
  local before, behind = lines[1], ""
  if left.tail ~= "" then
    local first, last = before:find(left.tail, 1, true)
    if first then
      before, behind = before:sub(1, first - 1), before:sub(last + 1)
    end
  end
  -- Without 'virtualedit' both are the same; with it the text is inserted behind the blanks that the cursor stands on.
  local column = vim.fn.virtcol(".") - 1
  local virt_lines = {}
  for i = 2, #lines do
    virt_lines[#virt_lines + 1] = { { expand(lines[i], 0), "CosecGhost" } }
  end
  local first = { { expand(before, column), "CosecGhost" } }
  if hint then
    local last = virt_lines[#virt_lines] or first
    last[#last + 1] = { hint, "CosecGhostHint" }
  end
  api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = first,
    virt_text_pos = "inline",
    virt_lines = #virt_lines > 0 and virt_lines or nil,
    hl_mode = "combine",
    strict = false,
  })
  if behind ~= "" then
    api.nvim_buf_set_extmark(buf, namespace, row, col + #left.tail, {
      virt_text = { { behind, "CosecGhost" } },
      virt_text_pos = "inline",
      hl_mode = "combine",
      strict = false,
    })
  end
end

--- Writes a remark behind the cursor's line, where whoever has asked looks.
---@param buf integer
---@param text string
function M.note(buf, text)
  M.clear(buf)
  api.nvim_buf_set_extmark(buf, namespace, api.nvim_win_get_cursor(0)[1] - 1, 0, {
    virt_text = { { text, "CosecGhostHint" } },
    virt_text_pos = "eol",
  })
end

---@param buf integer
function M.clear(buf)
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
