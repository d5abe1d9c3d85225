--- Key maps, which do what the key did before wherever there is nothing of ours to do.
local config = require("cosec.config")

local M = {}

---@class cosec.Action
---@field desc string
---@field run fun(): boolean
---@field always? boolean Also where no suggestion is to be seen.

---@type table<string, cosec.Action>
M.actions = {
  accept = {
    desc = "Accept the suggestion",
    run = function()
      return require("cosec").accept()
    end,
  },
  accept_word = {
    desc = "Accept the suggestion's next word",
    run = function()
      return require("cosec").accept_word()
    end,
  },
  accept_line = {
    desc = "Accept the suggestion's next line",
    run = function()
      return require("cosec").accept_line()
    end,
  },
  next = {
    desc = "Next suggestion",
    run = function()
      return require("cosec").next()
    end,
  },
  previous = {
    desc = "Previous suggestion",
    run = function()
      return require("cosec").previous()
    end,
  },
  dismiss = {
    desc = "Dismiss the suggestion",
    run = function()
      return require("cosec").dismiss()
    end,
  },
  ask = {
    desc = "Ask for a suggestion",
    always = true,
    run = function()
      return require("cosec").ask()
    end,
  },
}

---@param name string
---@return string
local function plug(name)
  return ("<Plug>(cosec-%s)"):format(name:gsub("_", "-"))
end

--- Keeps what the key does as a map of another name, with all its flags. Falls back to the key itself.
---@param key string
---@return string lhs
local function keep(key)
  local lhs = plug("before-" .. key:gsub("[<>]", ""))
  local before = vim.fn.maparg(key, "i", false, true)
  if vim.tbl_isempty(before) or before.buffer == 1 then
    vim.keymap.set("i", lhs, key, { desc = "What the key does without cosec" })
    return lhs
  end
  before.lhs, before.lhsraw, before.lhsrawalt = lhs, vim.keycode(lhs), nil
  vim.fn.mapset("i", false, before)
  return lhs
end

--- By mode and key: what was mapped, for the health report.
---@type table<string, string>
M.mapped = {}

---@param key string
---@param action cosec.Action
---@param name string
local function map(key, action, name)
  local fallback = M.mapped[key] and plug("before-" .. key:gsub("[<>]", "")) or keep(key)
  vim.keymap.set("i", key, function()
    if action.always or require("cosec").visible() then
      return plug(name)
    end
    return fallback
  end, { expr = true, remap = true, silent = true, desc = "cosec: " .. action.desc })
  M.mapped[key] = name
end

--- The `<Plug>` maps, which are always there.
function M.define_plugs()
  for name, action in pairs(M.actions) do
    vim.keymap.set("i", plug(name), function()
      action.run()
    end, { silent = true, desc = "cosec: " .. action.desc })
  end
end

--- Maps the keys of the options.
function M.set()
  M.define_plugs()
  for name, keys in pairs(config.options.keys or {}) do
    for _, key in ipairs(type(keys) == "table" and keys or { keys }) do
      if type(key) == "string" and key ~= "" and M.actions[name] then
        map(key, M.actions[name], name)
      end
    end
  end
end

--- Keys that something else has mapped since.
---@return { key: string, by: string }[]
function M.taken()
  local found = {}
  for key in pairs(M.mapped) do
    local now = vim.fn.maparg(key, "i", false, true)
    if not vim.startswith(now.desc or "", "cosec: ") then
      local by = now.desc or now.rhs
      if not by and now.callback then
        local info = debug.getinfo(now.callback, "S")
        by = info and info.short_src or "a Lua function"
      end
      found[#found + 1] = { key = key, by = by or "nothing" }
    end
  end
  return found
end

return M
