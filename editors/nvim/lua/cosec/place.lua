--- Where and when there can be suggestions.
local api = vim.api

local M = {}

--- Whether this is a place and a time for suggestions. A macro that depended on a model would do something else each
--- time, so there are none while one is recorded or played.
---@param buf integer
---@return boolean
function M.possible(buf)
  return buf == api.nvim_get_current_buf()
    and api.nvim_get_mode().mode:sub(1, 1) == "i"
    and vim.fn.reg_recording() == ""
    and vim.fn.reg_executing() == ""
end

--- Whether something else has the place: the popup menu, or who sets `b:cosec_hidden` (menus of other plugins).
---@param buf integer
---@return boolean
function M.covered(buf)
  return vim.fn.pumvisible() == 1 or vim.b[buf].cosec_hidden == true
end

--- The cursor's place in the text as it is.
---@param buf integer
---@return string
function M.here(buf)
  local cursor = api.nvim_win_get_cursor(0)
  return ("%d:%d:%d"):format(api.nvim_buf_get_changedtick(buf), cursor[1], cursor[2])
end

return M
