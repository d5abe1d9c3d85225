--- A source for nvim-cmp: require("cmp").register_source("cosec", require("cosec.cmp").new())
local menu = require("cosec.menu")

local INVOKED = 1

---@class cosec.CmpSource
local source = {}
source.__index = source

---@return cosec.CmpSource
function source.new()
  return setmetatable({}, source)
end

---@return string
function source:get_debug_name()
  return "cosec"
end

---@return boolean
function source:is_available()
  return menu.available()
end

---@return string
function source:get_position_encoding_kind()
  return "utf-8"
end

---@return string[]
function source:get_trigger_characters()
  return { ".", ":", "(", " ", "=" }
end

---@param params { completion_context: { triggerKind: integer }? }
---@param callback fun(response: lsp.CompletionList)
function source:complete(params, callback)
  local asked = vim.tbl_get(params, "completion_context", "triggerKind") == INVOKED
  menu.entries(asked and 1 or 2, function(entries)
    callback({ items = entries, isIncomplete = true })
  end)
end

---@param item lsp.CompletionItem
---@param callback fun(item: lsp.CompletionItem)
function source:execute(item, callback)
  menu.taken(item)
  callback(item)
end

return source
