--- Who else completes here: a second client of our server, or another plugin that draws ghost text.
local client = require("cosec.client")

local M = {}

--- Plugins that draw suggestions at the cursor, and how to see that they are there.
---@type { name: string, globals?: string[], modules?: string[] }[]
local OTHERS = {
  { name = "copilot.vim", globals = { "loaded_copilot" } },
  { name = "copilot.lua", modules = { "copilot.suggestion" } },
  { name = "supermaven-nvim", modules = { "supermaven-nvim.completion_preview", "supermaven-nvim" } },
  { name = "codeium.vim or windsurf.vim", globals = { "loaded_codeium", "loaded_windsurf" } },
  { name = "codeium.nvim or windsurf.nvim", modules = { "codeium.virtual_text" } },
  { name = "llama.vim", globals = { "loaded_llama", "llama_config" } },
  { name = "minuet-ai.nvim", modules = { "minuet.virtualtext" } },
  { name = "tabby", globals = { "loaded_tabby" }, modules = { "tabby.lsp" } },
  { name = "tabnine-nvim", modules = { "tabnine.completion" } },
}

--- Other plugins that are loaded.
---@return string[]
function M.plugins()
  local found = {}
  for _, other in ipairs(OTHERS) do
    local here = false
    for _, global in ipairs(other.globals or {}) do
      here = here or vim.g[global] ~= nil
    end
    for _, module in ipairs(other.modules or {}) do
      here = here or package.loaded[module] ~= nil
    end
    if here then
      found[#found + 1] = other.name
    end
  end
  return found
end

--- Other clients that offer inline completion.
---@return vim.lsp.Client[]
function M.inline_clients()
  return vim.tbl_filter(function(other)
    return other.id ~= client.state.id and other.server_capabilities.inlineCompletionProvider ~= nil
  end, vim.lsp.get_clients())
end

--- Whether a client runs our server, though this plugin has not started it.
---@param other vim.lsp.Client
---@return boolean
function M.is_second(other)
  if other.id == client.state.id or other.name == client.NAME then
    return false
  end
  local cmd = other.config.cmd
  local program = type(cmd) == "table" and vim.fs.basename(cmd[1]) or ""
  return other.name == "cosec_ls" or program == "cosec-ls"
end

---@return boolean
local function enabled()
  if vim.lsp.is_enabled then
    return vim.lsp.is_enabled("cosec_ls")
  end
  return vim.tbl_get(vim.lsp, "_enabled_configs", "cosec_ls") ~= nil
end

M.enabled = enabled

--- Two servers would hold two copies of the models, and two suggestions would be drawn in one place. The plugin does all
--- that the plain client does, so the plain client goes.
---@param other vim.lsp.Client?
local function drop(other)
  vim.notify_once(
    'cosec: cosec-ls was started by `vim.lsp.enable("cosec_ls")` as well as by this plugin: the former is off, remove it.',
    vim.log.levels.WARN
  )
  if vim.lsp.enable then
    pcall(vim.lsp.enable, "cosec_ls", false)
  end
  if other then
    client.stop(other)
  end
end

function M.at_setup()
  if enabled() then
    drop()
  end
end

---@param id integer
function M.attached(id)
  local other = vim.lsp.get_client_by_id(id)
  if other and M.is_second(other) then
    -- Stopped once it has come to rest: it is in the middle of being attached.
    vim.schedule(function()
      drop(other)
    end)
  end
end

return M
