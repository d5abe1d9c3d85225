--- What the user commands do; `plugin/cosec.lua` defines them.
local client = require("cosec.client")
local config = require("cosec.config")

local M = {}

---@return boolean
local function ready()
  if client.get() then
    return true
  end
  client.say(client.state.problem or "there is no server here: open a file first, or see `:checkhealth cosec`.")
  return false
end

---@param text string
local function told(text)
  client.say(text, vim.log.levels.INFO)
end

---@param what string
---@param on boolean
local function told_toggled(what, on)
  told(("suggestions are %s %s."):format(on and "on" or "off", what))
  client.refresh_status()
end

local toggle = {}

function toggle.all()
  local on = config.options.settings.enabled == false
  client.set("enabled", on)
  told_toggled("everywhere", on)
end

function toggle.language()
  local language = vim.bo.filetype
  if language == "" then
    return client.say("this buffer has no file type.")
  end
  local languages = vim.tbl_extend("keep", config.options.settings.languages or {}, { ["*"] = true })
  local on = languages[language]
  if on == nil then
    on = languages["*"]
  end
  languages[language] = not on
  client.set("languages", languages)
  told_toggled(("for %s"):format(language), not on)
end

function toggle.file()
  local uri = vim.uri_from_bufnr(0)
  client.execute("cosec-ls.toggle", { { uri = uri } }, function(result, err)
    if err then
      return client.say(err.message)
    end
    told_toggled("for this file", result.enabled)
  end)
end

M.TOGGLES = { "all", "language", "file" }
M.MODES = { "cosec", "security", "off" }

--- `:CosecToggle [all|language|file]`
---@param what string
function M.toggle(what)
  local run = toggle[what == "" and "all" or what]
  if not run then
    return client.say(("%q is none of %s."):format(what, table.concat(M.TOGGLES, ", ")))
  end
  if what ~= "file" or ready() then
    run()
    if not client.get() then
      return
    end
    local buf = vim.api.nvim_get_current_buf()
    require("cosec.suggestion").clear(buf)
    require("cosec.suggestion").changed(buf)
  end
end

--- `:CosecMode [off|cosec|security]`
---@param mode string
function M.mode(mode)
  if mode == "" then
    local status = client.state.status or {}
    return told(("the mode is %s."):format(status.mode or config.options.settings.mode or "the profile's"))
  end
  if not vim.tbl_contains(M.MODES, mode) then
    return client.say(("%q is none of %s."):format(mode, table.concat(M.MODES, ", ")))
  end
  client.set("mode", mode)
  client.refresh_status()
end

---@return string[]
function M.profiles()
  local status = client.state.status or {}
  local names = vim.tbl_map(function(profile)
    return profile.name
  end, status.profiles or {})
  return #names > 0 and names or { "default", "small" }
end

--- `:CosecProfile [NAME]`
---@param profile string
function M.profile(profile)
  if profile == "" then
    local status = client.state.status or {}
    return told(("the profile is %s."):format(status.profile or config.options.settings.profile or "default"))
  end
  local status = client.state.status or {}
  if status.profiles and not vim.tbl_contains(M.profiles(), profile) then
    return client.say(("%q is none of %s."):format(profile, table.concat(M.profiles(), ", ")))
  end
  client.set("profile", profile)
  client.refresh_status()
end

--- `:CosecPull`, and with `!` the end of it.
---@param stop boolean
function M.pull(stop)
  if not ready() then
    return
  end
  if stop then
    for token in pairs(client.state.pulls) do
      client.notify("window/workDoneProgress/cancel", { token = token })
    end
    return
  end
  client.execute("cosec-ls.pull", {}, function(_, err)
    if err then
      return client.say(("the server cannot fetch models (%s): run `cosec-ls models pull`."):format(err.message))
    end
    told("fetching the models; `:CosecPull!` stops it.")
  end)
end

--- `:CosecRestart`
function M.restart()
  client.restart()
end

return M
