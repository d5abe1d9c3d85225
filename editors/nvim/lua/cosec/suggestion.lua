--- What is suggested in each buffer: asking the server, taking what it streams, showing it, accepting pieces of it.
---
--- A question goes out with every change of the text or the cursor in Insert mode; the server waits until the typing
--- pauses, answers from memory what it has suggested already, and stops what is superseded. Here nothing is remembered
--- but the last answer, which stays on the screen as long as the buffer agrees with it.
local api = vim.api
local client = require("cosec.client")
local config = require("cosec.config")
local items = require("cosec.item")
local place = require("cosec.place")

local M = {}

---@class cosec.Suggestion
---@field items cosec.Item[]
---@field index integer
---@field token string? Of the question whose answers are wanted.
---@field request integer?
---@field place string? Where it was asked, and with which text.
---@field shown boolean
---@field move integer? Candidates to move by once there are any.
---@field cycling boolean
---@field seen any Id of the last item that was on the screen.
---@field continued? boolean Whether the last answer goes on with what was on the screen.
---@field waiting fun(list: cosec.Item[])[]

---@type table<integer, cosec.Suggestion>
local suggestions = {}
local n_tokens = 0

---@param buf integer
---@return cosec.Suggestion
local function of(buf)
  local s = suggestions[buf]
  if not s then
    s = { items = {}, index = 1, shown = false, cycling = false, waiting = {} }
    suggestions[buf] = s
  end
  return s
end

---@return { show: fun(buf: integer, lefts: cosec.Left[], index: integer, hint: string?), clear: fun(buf: integer) }?
local function display()
  local name = config.display()
  if name == "builtin" then
    return require("cosec.builtin")
  end
  return name == "own" and require("cosec.ghost") or nil
end

--- The items that the buffer still agrees with. The chosen one stays chosen.
---@param s cosec.Suggestion
---@param buf integer
---@return cosec.Left[]
local function fitting(s, buf)
  local kept, lefts, index = {}, {}, 1
  for i, item in ipairs(s.items) do
    local left = items.left(item, buf)
    if left then
      left.command = item.raw.command
      kept[#kept + 1], lefts[#lefts + 1] = item, left
      index = i == s.index and #kept or index
    end
  end
  s.items, s.index = kept, index
  return lefts
end

--- Tells the server what is on the screen, once for each text that is new there.
---@param s cosec.Suggestion
local function tell_shown(s)
  local item = s.items[s.index]
  local id = item and vim.tbl_get(item.raw, "command", "arguments", 1, "id")
  if id and id ~= s.seen and not s.request then
    local new = not (s.continued and s.seen)
    s.seen = id
    if new then
      client.notify("textDocument/didShowCompletion", { item = item.raw })
    end
  end
end

--- Shows what fits, and takes away what does not.
---@param buf integer
function M.refresh(buf)
  local s, show = suggestions[buf], display()
  if not s then
    return
  end
  if not place.possible(buf) then
    return M.clear(buf)
  end
  local lefts = fitting(s, buf)
  if not show then
    return
  end
  if #lefts == 0 or place.covered(buf) then
    if s.shown then
      show.clear(buf)
    end
    s.shown = false
    return
  end
  local hint = s.cycling and #lefts > 1 and (" (%d/%d)"):format(s.index, #lefts) or nil
  show.show(buf, lefts, s.index, hint)
  s.shown = true
  tell_shown(s)
end

---@param a string
---@param b string
---@return boolean
local function agree(a, b)
  return vim.startswith(a, b) or vim.startswith(b, a)
end

--- Takes a list of items that replaces the one before. What is on the screen stays chosen, if it is still in the list.
---@param buf integer
---@param s cosec.Suggestion
---@param list lsp.InlineCompletionItem[]
---@param asked { cursor: integer[], line: string }
local function take(buf, s, list, asked)
  local chosen = s.items[s.index]
  local before = s.shown and chosen and items.left(chosen, buf)
  s.items, s.index, s.continued = {}, 1, false
  for i, raw in ipairs(list) do
    s.items[i] = items.read(raw, asked.cursor, asked.line)
  end
  for i, item in ipairs(before and s.items or {}) do
    local left = items.left(item, buf)
    if left and agree(left.text, before.text) then
      s.index, s.continued = i, true
      break
    end
  end
  if s.move and #s.items > 1 then
    s.index = (s.index - 1 + s.move) % #s.items + 1
    s.move = nil
  end
  M.refresh(buf)
end

---@param s cosec.Suggestion
local function drop_question(s)
  if s.token then
    client.tokens[s.token] = nil
  end
  s.token, s.request = nil, nil
end

---@param s cosec.Suggestion
local function answer_waiting(s)
  local waiting = s.waiting
  s.waiting = {}
  for _, done in ipairs(waiting) do
    done(s.items)
  end
end

--- Who has asked and got nothing sees the reason at the end of the line, until something changes.
---@param buf integer
---@param s cosec.Suggestion
local function tell_why_nothing(buf, s)
  local asked = s.place
  client.refresh_status({ textDocument = { uri = vim.uri_from_bufnr(buf) } }, function(status)
    local document = status and status.document or {}
    local reason = document.reason or document.lastEmptyReason
    if reason and s.place == asked and place.possible(buf) and display() then
      require("cosec.ghost").note(buf, "cosec: " .. reason)
      s.shown = true
    end
  end)
end

---@param buf integer
---@param s cosec.Suggestion
---@param kind 1|2
local function send(buf, s, kind)
  local position = api.nvim_win_get_cursor(0)
  local cursor = { position[1] - 1, position[2] }
  local asked = { cursor = cursor, line = api.nvim_get_current_line() }
  n_tokens = n_tokens + 1
  local token = "cosec.nvim/" .. n_tokens
  drop_question(s)
  s.token = token
  client.tokens[token] = function(value)
    if s.token == token then
      take(buf, s, value.items or {}, asked)
    end
  end
  s.request = client.request("textDocument/inlineCompletion", {
    textDocument = { uri = vim.uri_from_bufnr(buf) },
    position = { line = cursor[1], character = cursor[2] },
    context = { triggerKind = kind },
    partialResultToken = token,
  }, function(err, result)
    client.tokens[token] = nil
    if s.token ~= token then
      return
    end
    drop_question(s)
    -- Cancelled and superseded questions are answered by errors, and their suggestion stays what it is.
    if not err and result then
      take(buf, s, result.items or result, asked)
    end
    s.move = nil
    answer_waiting(s)
    if kind == 1 and #s.items == 0 and not err then
      tell_why_nothing(buf, s)
    end
  end, buf)
end

--- Asks, unless that was done for this very place and text.
---@param buf integer
---@param kind? 1|2 1: the user asks, 2: by itself (the default).
function M.ask(buf, kind)
  local s = of(buf)
  if not place.possible(buf) or not vim.lsp.buf_is_attached(buf, client.state.id or -1) or not client.get() then
    return
  end
  if place.covered(buf) and #s.waiting == 0 then
    return
  end
  local here = place.here(buf)
  if kind ~= 1 and here == s.place then
    return
  end
  if here ~= s.place then
    s.cycling, s.move = false, nil
  end
  s.place = here
  send(buf, s, kind or 2)
end

--- The text or the cursor has changed.
---@param buf integer
function M.changed(buf)
  M.refresh(buf)
  if config.display() ~= "none" then
    M.ask(buf)
  end
end

--- Takes everything away, and stops the question.
---@param buf integer
function M.clear(buf)
  local s, show = suggestions[buf], display()
  if not s then
    return
  end
  if s.request then
    client.cancel(s.request)
  end
  drop_question(s)
  s.items, s.index, s.place, s.cycling, s.move, s.seen = {}, 1, nil, false, nil, nil
  if show and (s.shown or config.display() == "builtin") then
    show.clear(buf)
  end
  s.shown = false
  answer_waiting(s)
end

--- Takes the suggestion away until the text or the cursor changes.
---@param buf integer
---@return boolean dismissed
function M.dismiss(buf)
  local s = suggestions[buf]
  if not s or not s.shown then
    return false
  end
  local before = s.place
  M.clear(buf)
  s.place = before
  return true
end

--- Forgets the questions of a server that is gone.
function M.forget()
  for buf, s in pairs(suggestions) do
    s.request = nil
    if api.nvim_buf_is_valid(buf) then
      M.clear(buf)
    else
      suggestions[buf] = nil
    end
  end
end

---@param buf integer
function M.delete(buf)
  suggestions[buf] = nil
end

--- Whether the question for this place was asked and is answered.
---@param buf integer 0 is the current one.
---@return boolean
function M.answered(buf)
  local s = suggestions[buf == 0 and api.nvim_get_current_buf() or buf]
  return s ~= nil and s.place ~= nil and s.request == nil
end

--- Whether there is something on the screen that can be accepted.
---@param buf integer
---@return boolean
function M.visible(buf)
  local s = suggestions[buf]
  if not s or not s.shown or not place.possible(buf) or place.covered(buf) then
    return false
  end
  local item = s.items[s.index]
  return item ~= nil and items.left(item, buf) ~= nil
end

--- Moves among the candidates, and asks for more where there is one only.
---@param buf integer
---@param count integer
---@return boolean
function M.move(buf, count)
  local s = suggestions[buf]
  if not s or not M.visible(buf) then
    return false
  end
  s.cycling = true
  if #s.items > 1 then
    s.index = (s.index - 1 + count) % #s.items + 1
    M.refresh(buf)
  else
    s.move = count
    M.ask(buf, 1)
  end
  return true
end

---@param s cosec.Suggestion
---@param item cosec.Item
---@param left cosec.Left
---@param n integer
local function keep_rest(s, item, left, n)
  -- What closed to the right is in the buffer's accepted part, if it was taken.
  local line = api.nvim_get_current_line()
  local rest = line:sub(api.nvim_win_get_cursor(0)[2] + 1)
  if rest ~= item.rest then
    item.rest, item.tail = rest, ""
  end
  s.items, s.index, s.cycling = { item }, 1, false
  client.notify("textDocument/didPartiallyAcceptCompletion", {
    item = item.raw,
    acceptedLength = vim.fn.strutf16len(left.typed .. left.text:sub(1, n)),
  })
end

--- Accepts the suggestion, or a piece of it. The rest of it stays on the screen, and the server is asked for what comes.
---@param buf integer
---@param piece "all"|"line"|"word"
---@return boolean accepted
function M.accept(buf, piece)
  if not M.visible(buf) then
    return false
  end
  local s = of(buf)
  local item = s.items[s.index]
  local left = assert(items.left(item, buf))
  local n = items.accept(left, piece)
  if n < #left.text then
    keep_rest(s, item, left, n)
  else
    s.items, s.index = {}, 1
    local command = item.raw.command
    if command then
      client.execute(command.command, command.arguments or {}, function() end)
    end
  end
  M.changed(buf)
  return true
end

--- The items for the cursor, once the server has answered; for sources of completion menus. They share the question of
--- the ghost text, for two questions would supersede one another.
---@param buf integer
---@param kind 1|2
---@param done fun(list: cosec.Item[])
---@return fun() cancel
function M.await(buf, kind, done)
  local s = of(buf)
  table.insert(s.waiting, done)
  M.ask(buf, kind)
  if not s.request then
    answer_waiting(s)
  end
  return function()
    s.waiting = vim.tbl_filter(function(other)
      return other ~= done
    end, s.waiting)
  end
end

return M
