--- The one language client for all buffers and folders: started, attached, restarted, told of settings.
local api = vim.api
local config = require("cosec.config")
local rpc = require("cosec.rpc")
local server = require("cosec.server")

local M = {}

--- What of the server's interface this plugin knows (`capabilities.experimental.cosec.version`).
M.PROTOCOL = 2
M.NAME = "cosec"

--- Waits before a crashed server is started again: twice as long each time. After as many crashes as there are waits,
--- with no quiet time in between, the server is left alone.
local WAITS_MS = { 250, 500, 1000, 2000, 4000 }
local QUIET_MS = 120000

---@class cosec.ClientState
---@field id integer?
---@field buffers table<integer, true> Buffers that are to be attached.
---@field folders lsp.WorkspaceFolder[]
---@field crashes integer[] Times of the last crashes.
---@field problem string? Why there is no server, in a sentence.
---@field status table? The last answer to `cosec/status`.
---@field info table? `serverInfo`.
---@field protocol integer?
---@field pulls table<integer|string, true> Tokens of downloads and other work that tells its progress.
---@field waiting boolean? Whether it is about to be started again.
---@field stopped boolean? Whether somebody has stopped it.
---@field restarting integer? The client that ends to make room for the next.
local state = { buffers = {}, folders = {}, crashes = {}, pulls = {} }
M.state = state

---@type table<string, fun(value: table)> Who gets the partial results of a token.
M.tokens = {}

---@type fun()[] Called when the server is ready, or has changed its state.
M.on_ready = {}
M.on_status = {}

---@param text string
---@param level integer?
function M.say(text, level)
  vim.notify("cosec: " .. text, level or vim.log.levels.WARN)
end

--- Calls a method of a client; in 0.10 they take no `self`.
---@param client vim.lsp.Client
---@param name string
---@param ... any
---@return any ...
local function method(client, name, ...)
  if vim.fn.has("nvim-0.11") == 1 then
    return client[name](client, ...)
  end
  return client[name](...)
end

---@return vim.lsp.Client?
function M.get()
  local client = state.id and vim.lsp.get_client_by_id(state.id)
  return client and not method(client, "is_stopped") and client or nil
end

--- Stops a client, whoever started it.
---@param client vim.lsp.Client
---@param force? boolean
function M.stop(client, force)
  method(client, "stop", force)
end

---@param name string
---@param ... any
---@return any ...
local function call(name, ...)
  local client = M.get()
  if client then
    return method(client, name, ...)
  end
end

---@param name string
---@param params table?
---@param handler fun(err: table?, result: any)
---@param buf integer?
---@return integer? id
function M.request(name, params, handler, buf)
  local ok, id = call("request", name, params, handler, buf or 0)
  return ok and id or nil
end

---@param name string
---@param params table
function M.notify(name, params)
  call("notify", name, params)
end

---@param id integer
function M.cancel(id)
  call("cancel_request", id)
end

---@param command string
---@param arguments any[]
---@param done? fun(result: any, err: table?)
function M.execute(command, arguments, done)
  M.request("workspace/executeCommand", { command = command, arguments = arguments }, function(err, result)
    if done then
      done(result, err)
    elseif err then
      M.say(("%s: %s"):format(command, err.message or "failed"))
    end
  end)
end

--- The settings that the server gets. Missing models are a matter of this plugin unless the user says otherwise: the
--- server would ask by a prompt, and a prompt takes the keys of whoever is typing.
---@return table
function M.settings()
  local download = config.options.download
  return vim.tbl_extend("keep", config.options.settings, {
    candidates = 3,
    download = download == "ask" and "never" or download,
  })
end

--- Sets one setting of the server for this session; it outlives the server.
---@param name string
---@param value any
function M.set(name, value)
  config.options.settings[name] = value
  local client = M.get()
  if client then
    local settings = { ["cosec-ls"] = M.settings() }
    client.settings = settings
    M.notify("workspace/didChangeConfiguration", { settings = settings })
  end
end

---@param status table?
local function took_status(status)
  if type(status) == "table" then
    state.status = vim.tbl_extend("force", state.status or {}, status)
    for _, listener in ipairs(M.on_status) do
      listener()
    end
  end
end

--- Asks for the server's state.
---@param params table?
---@param done? fun(status: table?)
function M.refresh_status(params, done)
  M.request("cosec/status", params or vim.empty_dict(), function(_, status)
    took_status(status)
    if done then
      done(status)
    end
  end)
end

---@return table<string, fun(...): any>
local function handlers()
  return {
    ["$/progress"] = function(err, params, ctx)
      local take = params and M.tokens[params.token]
      if take then
        take(params.value)
        return
      end
      local kind = params and vim.tbl_get(params, "value", "kind")
      if kind == "begin" or kind == "end" then
        state.pulls[params.token] = kind == "begin" or nil
      end
      return vim.lsp.handlers["$/progress"](err, params, ctx)
    end,
    ["cosec/didChangeStatus"] = function(_, params)
      took_status(params)
    end,
  }
end

---@param client vim.lsp.Client
---@param result table
local function initialized(client, result)
  local cosec = vim.tbl_get(result, "capabilities", "experimental", "cosec") or {}
  state.info, state.protocol = result.serverInfo, cosec.version
  if cosec.version ~= M.PROTOCOL then
    local version = vim.tbl_get(result, "serverInfo", "version") or "unknown"
    local age = (tonumber(cosec.version) or 0) > M.PROTOCOL and "newer" or "older"
    M.say(("cosec-ls (version %s) is %s than this plugin: install the same release of both."):format(version, age))
  end
  -- An 'omnifunc' that gives nothing would hide the one that the file type has.
  if config.options.settings.popup ~= "always" then
    client.server_capabilities.completionProvider = nil
  end
end

---@return table
local function client_config()
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.general = vim.tbl_extend("force", capabilities.general or {}, { positionEncodings = { "utf-8" } })
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  capabilities.experimental = { cosec = { status = true } }
  local cmd = assert(server.command())
  local code, signal = 0, 0
  return {
    name = M.NAME,
    cmd = function(dispatchers)
      return rpc.start(cmd, dispatchers, function(...)
        code, signal = ...
      end)
    end,
    capabilities = capabilities,
    offset_encoding = "utf-8",
    init_options = M.settings(),
    settings = { ["cosec-ls"] = M.settings() },
    handlers = handlers(),
    workspace_folders = #state.folders > 0 and vim.deepcopy(state.folders) or nil,
    on_init = initialized,
    on_attach = function(_, buf)
      require("cosec").attached(buf)
    end,
    on_exit = function(_, _, id)
      vim.schedule(function()
        M.exited(code, signal, id)
      end)
    end,
  }
end

---@return boolean started
local function start(buf)
  local _, problem = server.command()
  state.problem = problem
  if problem then
    vim.notify_once("cosec: " .. problem, vim.log.levels.ERROR)
    return false
  end
  local never = function()
    return false
  end
  local ok, id = pcall(vim.lsp.start, client_config(), { bufnr = buf, reuse_client = never })
  if not ok or not id then
    state.problem = ("The server did not start (%s): see `:checkhealth cosec`."):format(
      vim.split(tostring(id), "\n")[1]
    )
    vim.notify_once("cosec: " .. state.problem, vim.log.levels.ERROR)
    return false
  end
  state.id, state.status = id, nil
  vim.schedule(function()
    M.refresh_status(nil, function()
      for _, listener in ipairs(M.on_ready) do
        listener()
      end
    end)
  end)
  return true
end

---@param buf integer
local function add_folder(buf)
  local root = vim.fs.root(buf, config.options.root_markers)
  if not root then
    return
  end
  local uri = vim.uri_from_fname(root)
  for _, folder in ipairs(state.folders) do
    if folder.uri == uri then
      return
    end
  end
  local folder = { uri = uri, name = vim.fs.basename(root) }
  table.insert(state.folders, folder)
  local client = M.get()
  if client then
    client.workspace_folders = vim.deepcopy(state.folders)
    M.notify("workspace/didChangeWorkspaceFolders", { event = { added = { folder }, removed = {} } })
  end
end

--- Whether a buffer is text that someone writes: no terminal, prompt, help or list. Which languages and files are
--- completed is the server's matter. Neovim has one URI for all buffers without a name, so one of them is attached.
---@param buf integer
---@return boolean
function M.wants(buf)
  if not api.nvim_buf_is_loaded(buf) or vim.bo[buf].buftype ~= "" or not vim.bo[buf].modifiable then
    return false
  end
  if api.nvim_buf_get_name(buf) == "" then
    for other in pairs(state.buffers) do
      if other ~= buf and api.nvim_buf_is_valid(other) and api.nvim_buf_get_name(other) == "" then
        return false
      end
    end
  end
  return true
end

--- Attaches a buffer, and starts the server for the first one.
---@param buf integer
function M.attach(buf)
  if not M.wants(buf) then
    return
  end
  state.buffers[buf] = true
  add_folder(buf)
  if M.get() then
    if not vim.lsp.buf_is_attached(buf, state.id) then
      vim.lsp.buf_attach_client(buf, state.id)
    end
  elseif not state.problem and not state.waiting and not state.stopped then
    start(buf)
  end
end

--- Starts the server anew, for all buffers.
function M.start_again()
  state.problem, state.waiting, state.stopped = nil, nil, nil
  for buf in pairs(state.buffers) do
    if not M.wants(buf) then
      state.buffers[buf] = nil
    end
  end
  local first = next(state.buffers)
  if first and start(first) then
    for buf in pairs(state.buffers) do
      vim.lsp.buf_attach_client(buf, state.id)
    end
  end
end

--- Stops the server if it runs, and starts it.
function M.restart()
  state.crashes = {}
  local id = state.id
  local client = M.get()
  if not client then
    return M.start_again()
  end
  state.restarting = id
  M.stop(client)
  -- One that does not answer is not waited for.
  vim.defer_fn(function()
    if state.restarting == id then
      M.stop(client, true)
    end
  end, 2000)
end

---@param code integer
---@param signal integer
---@param id integer
function M.exited(code, signal, id)
  if id ~= state.id then
    return
  end
  state.id, state.status = nil, nil
  M.tokens, state.pulls = {}, {}
  require("cosec.suggestion").forget()
  if vim.v.exiting ~= vim.NIL then
    return
  end
  if state.restarting == id then
    state.restarting = nil
    return M.start_again()
  end
  -- Ended in good order, or by SIGTERM: somebody wants it to be gone.
  if (code == 0 and signal == 0) or signal == 15 then
    state.stopped = true
    return
  end
  local now = vim.uv.now()
  if state.crashes[1] and now - state.crashes[#state.crashes] > QUIET_MS then
    state.crashes = {}
  end
  table.insert(state.crashes, now)
  local how = signal ~= 0 and ("signal %d"):format(signal) or ("exit code %d"):format(code)
  local n = #state.crashes
  if n > #WAITS_MS then
    state.problem = ("The server ended %d times (%s) and is left alone: see `:checkhealth cosec`, then `:CosecRestart`."):format(
      n,
      how
    )
    return M.say(state.problem, vim.log.levels.ERROR)
  end
  if n == 1 then
    M.say(("the server ended unexpectedly (%s) and is started again."):format(how))
  end
  state.waiting = true
  vim.defer_fn(M.start_again, WAITS_MS[n])
end

return M
