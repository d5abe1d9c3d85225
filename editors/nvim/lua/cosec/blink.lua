--- A source for blink.cmp: sources.providers.cosec = { name = "cosec", module = "cosec.blink", async = true }
local menu = require("cosec.menu")

---@class cosec.BlinkSource
local source = {}
source.__index = source

---@return cosec.BlinkSource
function source.new()
  return setmetatable({}, source)
end

---@return boolean
function source:enabled()
  return menu.available()
end

---@return string[]
function source:get_trigger_characters()
  return { ".", ":", "(", " ", "=" }
end

---@param context { trigger: { kind: string }? }
---@param callback fun(response: { items: table[], is_incomplete_forward: boolean, is_incomplete_backward: boolean })
---@return fun() cancel
function source:get_completions(context, callback)
  local asked = vim.tbl_get(context, "trigger", "kind") == "manual"
  return menu.entries(asked and 1 or 2, function(entries)
    callback({ items = entries, is_incomplete_forward = true, is_incomplete_backward = true })
  end)
end

---@param _ table
---@param item lsp.CompletionItem
---@param callback fun()
---@param insert fun() What blink.cmp does with an entry by itself.
function source:execute(_, item, callback, insert)
  insert()
  menu.taken(item)
  callback()
end

return source
