--- cosec.nvim: code completions of local models, hardened while they are decoded. See `:help cosec`.
local api = vim.api
local client = require("cosec.client")
local config = require("cosec.config")
local suggestion = require("cosec.suggestion")

local M = {}

---@return integer
local function buf()
  return api.nvim_get_current_buf()
end

--- Accepts all of the suggestion.
---@return boolean accepted False if there is none.
function M.accept()
  return suggestion.accept(buf(), "all")
end

--- Accepts the suggestion's next word; the rest stays.
---@return boolean accepted
function M.accept_word()
  return suggestion.accept(buf(), "word")
end

--- Accepts the suggestion up to the end of its line; the rest stays.
---@return boolean accepted
function M.accept_line()
  return suggestion.accept(buf(), "line")
end

--- Shows the next candidate.
---@return boolean
function M.next()
  return suggestion.move(buf(), 1)
end

--- Shows the candidate before.
---@return boolean
function M.previous()
  return suggestion.move(buf(), -1)
end

--- Takes the suggestion away.
---@return boolean dismissed
function M.dismiss()
  return suggestion.dismiss(buf())
end

--- Asks for a suggestion here, also where none comes by itself.
---@return boolean
function M.ask()
  suggestion.ask(buf(), 1)
  return true
end

--- Whether a suggestion is to be seen.
---@return boolean
function M.visible()
  return suggestion.visible(buf())
end

--- A few words for a status line; empty while there is nothing to say.
---@return string
function M.status()
  return require("cosec.status").line()
end

--- Called when the server has got a buffer.
---@param attached integer
function M.attached(attached)
  if config.display() == "builtin" then
    vim.lsp.inline_completion.enable(true, { bufnr = attached })
  end
  vim.schedule(function()
    suggestion.changed(attached)
  end)
end

local function highlights()
  local builtin = vim.fn.hlexists("ComplHint") == 1
  local links = {
    CosecGhost = builtin and "ComplHint" or "Comment",
    CosecGhostHint = builtin and "ComplHintMore" or "MoreMsg",
    CosecBase = "Normal",
    CosecSecurity = "DiagnosticUnderlineOk",
    CosecIntervened = "DiagnosticUnderlineWarn",
    CosecMark = "WarningMsg",
    CosecTitle = "Title",
  }
  for name, link in pairs(links) do
    api.nvim_set_hl(0, name, { link = link, default = true })
  end
end

---@param group integer
local function watch_text(group)
  local function on(events, run)
    api.nvim_create_autocmd(events, { group = group, callback = run })
  end
  on({ "InsertEnter", "TextChangedI", "TextChangedP", "CursorMovedI", "CompleteDone" }, function(args)
    if args.event == "InsertEnter" or args.event == "CompleteDone" then
      -- The mode and the menu are not what they will be yet.
      vim.schedule(function()
        if api.nvim_buf_is_valid(args.buf) then
          suggestion.changed(args.buf)
        end
      end)
    else
      suggestion.changed(args.buf)
    end
  end)
  on("CompleteChanged", function(args)
    suggestion.refresh(args.buf)
  end)
  -- Not InsertLeave, which <C-c> does not cause.
  on("ModeChanged", function(args)
    local old, new = args.match:match("^(.-):(.*)$")
    if old:sub(1, 1) == "i" and new:sub(1, 1) ~= "i" then
      suggestion.clear(args.buf)
    end
  end)
  on({ "RecordingEnter", "BufLeave" }, function(args)
    suggestion.clear(args.buf)
  end)
end

---@param group integer
local function watch_buffers(group)
  local function on(events, run)
    api.nvim_create_autocmd(events, { group = group, callback = run })
  end
  on({ "BufEnter", "FileType" }, function(args)
    vim.schedule(function()
      client.attach(args.buf)
    end)
  end)
  on({ "BufUnload", "BufDelete", "BufWipeout" }, function(args)
    client.state.buffers[args.buf] = nil
    suggestion.delete(args.buf)
    require("cosec.rpc").sinks[args.buf] = nil
  end)
  on("LspDetach", function(args)
    -- The next attachment of the built-in completion is another object.
    require("cosec.rpc").sinks[args.buf] = nil
  end)
  on("LspAttach", function(args)
    require("cosec.conflicts").attached(args.data.client_id)
  end)
  on("ColorScheme", highlights)
end

local function watch_server()
  require("cosec.rpc").on_builtin_question = suggestion.refresh
  client.on_ready = {
    function()
      suggestion.changed(buf())
    end,
    require("cosec.status").mention_missing,
  }
  client.on_status = {
    require("cosec.status").changed,
  }
end

--- Switches the plugin on.
---@param options? cosec.Options
function M.setup(options)
  if vim.fn.has("nvim-0.10") == 0 then
    vim.notify_once("cosec: this plugin needs Neovim 0.10 or later.", vim.log.levels.ERROR)
    return
  end
  vim.g.cosec_setup = true
  local problems = config.set(options or {})
  for _, problem in ipairs(problems) do
    client.say(problem .. ".", vim.log.levels.ERROR)
  end
  highlights()
  local group = api.nvim_create_augroup("cosec", { clear = true })
  watch_text(group)
  watch_buffers(group)
  watch_server()
  require("cosec.keys").set()
  require("cosec.conflicts").at_setup()
  client.state.problem = nil
  for _, loaded in ipairs(api.nvim_list_bufs()) do
    if vim.fn.buflisted(loaded) == 1 then
      client.attach(loaded)
    end
  end
end

return M
