--- Options of the plugin: defaults, and what is wrong with those that were given.
local M = {}

---@alias cosec.Key string|string[]|false

---@class cosec.Keys
---@field accept? cosec.Key All of the suggestion.
---@field accept_word? cosec.Key Its next word.
---@field accept_line? cosec.Key Its next line.
---@field next? cosec.Key The next candidate; asks for more where there is one only.
---@field previous? cosec.Key
---@field dismiss? cosec.Key
---@field ask? cosec.Key Ask now, also where nothing comes by itself.

---@class cosec.Options
---@field cmd? string|string[]|fun(dispatchers: vim.lsp.rpc.Dispatchers): table The server; found by itself if nil.
---@field display? "auto"|"builtin"|"own"|"none" Who draws ghost text.
---@field download? "ask"|"always"|"never" Whether missing models are fetched without `:CosecPull`.
---@field keys? cosec.Keys|false
---@field root_markers? string[] What makes a directory a workspace folder.
---@field settings? table<string, any> Settings of the server (docs/PROTOCOL.md), passed on as they are.

---@type cosec.Options
M.defaults = {
  cmd = nil,
  display = "auto",
  download = "ask",
  -- The keys of copilot.vim, where it has them, for fingers that know them.
  keys = {
    accept = "<Tab>",
    accept_word = { "<M-Right>", "<C-Right>" },
    accept_line = "<M-l>",
    next = "<M-]>",
    previous = "<M-[>",
    dismiss = "<C-]>",
    ask = "<M-\\>",
  },
  root_markers = { ".git", ".hg", ".jj", ".svn" },
  settings = {},
}

---@type cosec.Options
M.options = vim.deepcopy(M.defaults)

local CHOICES = {
  display = { "auto", "builtin", "own", "none" },
  download = { "ask", "always", "never" },
}

---@param found string[]
---@param value any
---@param types string[]
---@param name string
local function expect(found, value, types, name)
  if value ~= nil and not vim.tbl_contains(types, type(value)) then
    found[#found + 1] = ("`%s` is a %s, expected %s"):format(name, type(value), table.concat(types, " or "))
  end
end

---@param found string[]
---@param given table
---@param known table
---@param prefix string
local function unknown(found, given, known, prefix)
  local names = vim.tbl_keys(known)
  table.sort(names)
  for name in pairs(given) do
    if not vim.tbl_contains(names, name) then
      found[#found + 1] = ("`%s%s` is no option (there are %s)"):format(
        prefix,
        tostring(name),
        table.concat(names, ", ")
      )
    end
  end
end

local TYPES = {
  cmd = { "string", "table", "function" },
  display = { "string" },
  download = { "string" },
  keys = { "table", "boolean" },
  root_markers = { "table" },
  settings = { "table" },
}

---@param found string[]
---@param keys table|boolean|nil
local function check_keys(found, keys)
  if keys == true then
    found[#found + 1] = "`keys` is true, expected a table, or false for none"
  elseif type(keys) == "table" then
    unknown(found, keys, M.defaults.keys, "keys.")
    for name, key in pairs(keys) do
      expect(found, key, { "string", "table", "boolean" }, "keys." .. tostring(name))
    end
  end
end

--- What is wrong with the options, one sentence each.
---@param given any
---@return string[]
function M.problems(given)
  local found = {} ---@type string[]
  if type(given) ~= "table" then
    return { ("options are a %s, expected a table"):format(type(given)) }
  end
  unknown(found, given, TYPES, "")
  for name, types in pairs(TYPES) do
    expect(found, given[name], types, name)
  end
  for name, choices in pairs(CHOICES) do
    local value = given[name]
    if type(value) == "string" and not vim.tbl_contains(choices, value) then
      found[#found + 1] = ("`%s` is %q, expected %s"):format(name, value, table.concat(choices, ", "))
    end
  end
  check_keys(found, given.keys)
  table.sort(found)
  return found
end

--- Takes the options over, those that are wrong apart.
---@param given any
---@return string[] problems
function M.set(given)
  local problems = M.problems(given)
  if type(given) ~= "table" then
    given = {}
  end
  local usable = {}
  for name, types in pairs(TYPES) do
    local value = given[name]
    local choices = CHOICES[name]
    local chosen = not choices or vim.tbl_contains(choices, value)
    if value ~= nil and vim.tbl_contains(types, type(value)) and chosen then
      usable[name] = value
    end
  end
  local options = vim.deepcopy(M.defaults)
  for name, value in pairs(usable) do
    options[name] = value
  end
  if usable.keys == false then
    options.keys = {}
  elseif type(usable.keys) == "table" then
    options.keys = vim.tbl_extend("force", M.defaults.keys, usable.keys)
  else
    options.keys = vim.deepcopy(M.defaults.keys)
  end
  options.settings = vim.deepcopy(options.settings)
  M.options = options
  return problems
end

--- Who draws ghost text here.
---@return "builtin"|"own"|"none"
function M.display()
  local display = M.options.display
  local builtin = vim.lsp.inline_completion ~= nil
  if display == "none" then
    return "none"
  end
  return (display ~= "own" and builtin) and "builtin" or "own"
end

return M
