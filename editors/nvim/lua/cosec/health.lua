--- `:checkhealth cosec`: what is there, what is wrong, and the remedy.
local client = require("cosec.client")
local config = require("cosec.config")
local conflicts = require("cosec.conflicts")
local server = require("cosec.server")
local status = require("cosec.status")

local M = {}

local health = vim.health

local function neovim()
  health.start("Neovim")
  local version = tostring(vim.version())
  if vim.fn.has("nvim-0.10") == 0 then
    health.error(("Neovim %s is too old"):format(version), "Install Neovim 0.10 or later.")
  else
    health.ok(("Neovim %s"):format(version))
  end
  local drawn = {
    builtin = "Ghost text is drawn by vim.lsp.inline_completion",
    own = "Ghost text is drawn by this plugin",
    none = 'No ghost text is drawn (`display` is "none")',
  }
  health.info(drawn[config.display()])
  if not vim.g.cosec_setup then
    health.error("The plugin is not switched on", 'Call require("cosec").setup{} in your init.lua.')
  end
end

---@return boolean
local function program()
  health.start("Server")
  local cmd, problem = server.command()
  if problem then
    health.error((problem:gsub(": .*", "")), problem:match(": (.*)"))
    return false
  end
  if type(cmd) ~= "table" then
    health.info("The option `cmd` is a function")
    return true
  end
  health.ok(("%s can be executed"):format(cmd[1]))
  local ok, result = pcall(function()
    return vim.system({ cmd[1], "--version" }, { text = true, timeout = 5000 }):wait()
  end)
  local version = ok and result.code == 0 and vim.trim(result.stdout):match("^cosec%-ls (%S+)")
  if version then
    health.ok(("cosec-ls %s"):format(version))
  else
    health.error(
      ("%s does not say that it is cosec-ls"):format(cmd[1]),
      "Set the option `cmd` to cosec-ls, or install it again: its wheel with pip, its source with cargo"
    )
  end
  return true
end

---@return boolean running
local function running()
  if client.state.problem then
    health.error(client.state.problem, "Mend that, then :CosecRestart.")
    return false
  end
  local ours = client.get()
  if not ours then
    health.warn("The server is not running", "Open a file; if that does not start it, :CosecRestart and :messages.")
    return false
  end
  local buffers = vim.tbl_count(ours.attached_buffers or {})
  health.ok(("Running as client %d, %d buffers, %d workspace folders"):format(ours.id, buffers, #client.state.folders))
  local protocol = client.state.protocol
  if protocol == client.PROTOCOL then
    health.ok(("Protocol version %d"):format(protocol))
  else
    health.error(
      ("The server has protocol version %s, this plugin knows %d"):format(protocol or "none", client.PROTOCOL),
      "Install the same release of the plugin and of cosec-ls, then :CosecRestart."
    )
  end
  return true
end

--- The buffer that was looked at before the report.
---@return integer?
local function last_buffer()
  local last, buf = -1, nil
  for _, info in ipairs(vim.fn.getbufinfo({ buflisted = 1 })) do
    if info.lastused > last and vim.lsp.buf_is_attached(info.bufnr, client.state.id) then
      last, buf = info.lastused, info.bufnr
    end
  end
  return buf
end

---@param buf integer?
---@return table?
local function ask_status(buf)
  local answer ---@type table?
  local params = buf and { textDocument = { uri = vim.uri_from_bufnr(buf) } }
  client.refresh_status(params, function(got)
    answer = got or {}
  end)
  vim.wait(5000, function()
    return answer ~= nil
  end, 10)
  return answer
end

---@param s table
local function models(s)
  local m = s.models or {}
  local rows = {}
  for _, row in ipairs(status.rows(s)) do
    rows[row[1]] = row[2]
  end
  if m.state == "missing" then
    health.error(
      ("The models of the profile %s are missing (%s)"):format(m.profile or s.profile, status.size(m.downloadBytes)),
      {
        ":CosecPull downloads them, or in a shell: cosec-ls models pull",
        "Without a network: copy them from a machine that has them; `cosec-ls models path` says where they belong.",
      }
    )
  elseif m.state == "failed" then
    health.error(("The models could not be loaded: %s"):format(m.reason or "?"), {
      "In a shell: cosec-ls doctor",
      "Without a network: `cosec-ls models path` says where the files belong.",
    })
  else
    health.ok(("Models %s"):format(rows.Models))
  end
  health.info(("Profile %s, mode %s"):format(s.profile or "?", s.mode or "?"))
  if s.hardened then
    health.ok("Suggestions are hardened by a trained adapter")
  elseif m.state == "ready" then
    health.warn(
      ("Suggestions are not hardened: %s"):format(s.note or "no trained adapter takes part"),
      ":CosecProfile default, or :CosecMode cosec"
    )
  end
  if s.device then
    health.info(("Device %s"):format(s.device))
  end
end

---@param s table
---@param buf integer?
local function this_file(s, buf)
  if s.enabled == false then
    health.warn("Suggestions are off", ":CosecToggle")
  end
  local document = s.document
  if document and buf then
    local name = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(buf), ":t")
    local reason = document.completed == false and ("is not completed: %s"):format(document.reason or "?")
    health.info(("%s %s"):format(name, reason or ("is completed as %s"):format(document.language or "text")))
  end
  for _, pattern in ipairs((s.excludedFiles or {}).unusable or {}) do
    health.warn(
      ("A pattern of `excludedFiles` excludes nothing: %s"):format(pattern),
      "Mend it in `settings.excludedFiles`."
    )
  end
end

local function others()
  health.start("Conflicts")
  local found = 0
  local function conflict(text, remedy)
    found = found + 1
    health.warn(text, remedy)
  end
  for _, other in ipairs(vim.lsp.get_clients()) do
    if conflicts.is_second(other) then
      conflict(
        ("The client %q runs a second cosec-ls, with a second copy of the models"):format(other.name),
        'Remove vim.lsp.enable("cosec_ls"), or do without this plugin.'
      )
    end
  end
  for _, name in ipairs(conflicts.plugins()) do
    conflict(("%s draws suggestions too"):format(name), "Switch off one of the two, or one of them by file type.")
  end
  for _, other in ipairs(conflicts.inline_clients()) do
    if not conflicts.is_second(other) then
      conflict(("The client %q offers inline completion too"):format(other.name), "Switch off one of the two.")
    end
  end
  for _, taken in ipairs(require("cosec.keys").taken()) do
    conflict(
      ("%s is mapped by something else: %s"):format(taken.key, taken.by),
      "Choose another key in `keys`, or map <Plug>(cosec-accept) and the like yourself (:help cosec-keys)."
    )
  end
  if found == 0 then
    health.ok("Nothing else completes here, and the keys are free")
  end
end

function M.check()
  neovim()
  if program() and running() then
    local buf = last_buffer()
    local s = ask_status(buf)
    if s then
      models(s)
      this_file(s, buf)
    else
      health.error("The server did not answer within 5 s", ":CosecRestart")
    end
  end
  others()
end

return M
