--- What the server is doing: in a few words for status lines, and in full in a window.
local client = require("cosec.client")
local window = require("cosec.window")

local M = {}

---@param bytes number?
---@return string
function M.size(bytes)
  bytes = bytes or 0
  if bytes >= 1e9 then
    return ("%.1f GB"):format(bytes / 1e9)
  end
  return ("%.0f MB"):format(bytes / 1e6)
end

---@param status table
---@return string
local function models(status)
  local m = status.models or {}
  if m.state == "fetching" then
    local percent = (m.totalBytes or 0) > 0 and (" %d%%"):format(100 * (m.doneBytes or 0) / m.totalBytes) or ""
    return "fetching models" .. percent
  elseif m.state == "missing" then
    return "models missing, :CosecPull"
  elseif m.state == "failed" then
    return "failed, :CosecStatus"
  elseif m.state == "loading" then
    return "loading"
  end
  local role = status.hardened and "hardened" or "not hardened"
  if status.mode == "off" then
    role = "base alone"
  end
  local speed = status.tokensPerSecond and (" %.0f tok/s"):format(status.tokensPerSecond) or ""
  return role .. (status.busy and " …" or speed)
end

--- A few words for a status line.
---@return string
function M.line()
  local state = client.state
  if state.problem then
    return "cosec: no server"
  elseif not client.get() then
    return state.waiting and "cosec: restarting" or ""
  elseif not state.status then
    return "cosec: starting"
  elseif state.status.enabled == false then
    return "cosec: off"
  end
  return "cosec: " .. models(state.status)
end

local drawn ---@type string?

--- Redraws status lines when their words have changed, and says what is missing.
function M.changed()
  local line = M.line()
  if line ~= drawn then
    drawn = line
    vim.cmd.redrawstatus({ bang = true })
  end
  M.mention_missing()
end

---@type table<string, true>
local mentioned = {}

--- Says once that models are missing, what they take, and what to do; and once for each reason why they cannot be had.
---
--- It is no prompt, on purpose. The server finds this out at a moment of its own, while somebody may be typing, in Insert
--- mode or in Normal mode, and `vim.ui.select` would take their keys: `10G` would choose entry 10. A message takes none,
--- stays in `:messages`, and the status line repeats it until it is mended.
function M.mention_missing()
  local m = (client.state.status or {}).models or {}
  local key = m.state == "failed" and (m.reason or "failed") or m.state
  if (m.state ~= "missing" and m.state ~= "failed") or mentioned[key] then
    return
  end
  mentioned[key] = true
  if m.state == "failed" then
    -- The rest of it, source by source, is in the health report.
    local reason = (m.reason or "the reason is unknown"):match("^[^\n]*"):gsub(":$", "")
    return client.say(("the models cannot be had, `:checkhealth cosec` has details: %s"):format(reason))
  end
  local size = m.downloadBytes and (" (%s)"):format(M.size(m.downloadBytes)) or ""
  client.say(("the models are not here yet%s: `:CosecPull` downloads them."):format(size), vim.log.levels.INFO)
end

---@param status table
---@return string
local function models_in_full(status)
  local m = status.models or {}
  if m.state == "ready" then
    local adapter = m.adapter and (" with adapter %s"):format(m.adapter) or ", no adapter"
    return ("ready: %s, security %s%s"):format(m.base, m.security, adapter)
  elseif m.state == "missing" then
    return ("missing (%s): `:CosecPull` downloads them"):format(M.size(m.downloadBytes))
  elseif m.state == "fetching" then
    return ("fetching %s: %s of %s"):format(m.model or "models", M.size(m.doneBytes), M.size(m.totalBytes))
  elseif m.state == "failed" then
    return ("failed: %s"):format(m.reason or "for an unknown reason")
  elseif m.state == "unloaded" then
    return "not loaded; the next question loads them"
  end
  return m.state or "unknown"
end

---@param fraction number?
---@return string?
local function percent(fraction)
  return fraction and ("%.0f %%"):format(100 * fraction) or nil
end

---@param document table?
---@return string?
local function document_line(document)
  if not document then
    return nil
  end
  if document.completed == false then
    return "not completed: " .. (document.reason or "for an unknown reason")
  end
  return ("completed as %s"):format(document.language or "text")
end

--- The rows of the window: what, and its value.
---@param status table
---@return { [1]: string, [2]: string? }[]
function M.rows(status)
  local totals = status.totals or {}
  local document = status.document
  local counts = status.suggestions or {}
  local excluded = status.excludedFiles or {}
  return {
    { "Server", ("cosec-ls %s"):format(status.version or "?") },
    { "Suggestions", status.enabled == false and "off" or "on" },
    { "This file", document_line(document) },
    { "Last without", (document or {}).lastEmptyReason or status.lastEmptyReason },
    { "Profile", status.profile },
    { "Mode", status.mode and ("%s, α = %s"):format(status.mode, status.alpha or "?") },
    { "Hardened", status.hardened and "yes" or ("no: " .. (status.note or "no trained adapter takes part")) },
    { "Models", models_in_full(status) },
    { "Device", status.device },
    { "Speed", status.tokensPerSecond and ("%.1f tokens per second"):format(status.tokensPerSecond) },
    { "Accepted", percent(status.acceptance) and percent(status.acceptance) .. " of the security model's proposals" },
    { "Cache", percent(status.cacheReuse) and percent(status.cacheReuse) .. " of the prompt tokens reused" },
    { "Memory", status.residentBytes and M.size(status.residentBytes) },
    { "Shown", counts.shown and ("%d, accepted %d"):format(counts.shown, counts.accepted or 0) },
    {
      "Questions",
      totals.requests and ("%d reached the models, %d tokens, %d interventions"):format(
        totals.requests,
        totals.decodedTokens or 0,
        totals.interventions or 0
      ),
    },
    { "Excluded", #(excluded.unusable or {}) > 0 and table.concat(excluded.unusable, "; ") or nil },
  }
end

--- The text of the window, also where there is no server.
---@param status table?
---@return string[]
function M.text(status)
  local lines = {}
  if client.state.problem then
    lines[#lines + 1] = client.state.problem
  elseif not status then
    lines[#lines + 1] = "The server has not answered: see `:checkhealth cosec`."
  end
  for _, row in ipairs(status and M.rows(status) or {}) do
    if row[2] then
      lines[#lines + 1] = ("%-13s %s"):format(row[1], (tostring(row[2]):gsub("\n", " ")))
    end
  end
  return lines
end

--- Opens the window.
function M.open()
  local buf = vim.api.nvim_get_current_buf()
  if not client.get() then
    return window.float("cosec", M.text(nil))
  end
  local params = { textDocument = { uri = vim.uri_from_bufnr(buf) } }
  client.refresh_status(params, function(status)
    window.float("cosec", M.text(status))
  end)
end

return M
