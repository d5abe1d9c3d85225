--- `:CosecExplain`: the last suggestion, each token marked by whose it is, and the numbers of the token under the cursor.
local api = vim.api
local client = require("cosec.client")
local window = require("cosec.window")

local M = {}

local namespace = api.nvim_create_namespace("cosec.explain")

--- Marks a token that differs from what the base would have written. Colours alone would not do.
local MARK = "◆"

---@class cosec.Span
---@field token table
---@field row integer
---@field col integer
---@field end_row integer
---@field end_col integer

---@param value number?
---@return string
local function number(value)
  return value and ("%.3f"):format(value) or "–"
end

---@param text string
---@return string
local function quoted(text)
  return '"' .. text:gsub("\n", "\\n"):gsub("\t", "\\t") .. '"'
end

---@param explanation table
---@return string[]
local function heading(explanation)
  local n = #explanation.tokens
  local security = 0
  for _, token in ipairs(explanation.tokens) do
    security = security + (token.role == "security" and 1 or 0)
  end
  local models = ""
  if explanation.base then
    local adapter = type(explanation.adapter) == "string" and (" + " .. explanation.adapter) or ""
    models = (" · base %s · security %s%s"):format(explanation.base, explanation.security or "?", adapter)
  end
  local alpha = explanation.alpha and (" · α = %s"):format(explanation.alpha) or ""
  return {
    ("Suggestion %s%s · %s%s"):format(explanation.id, alpha, explanation.mode or "cosec", models),
    ("%d tokens: %d of the security model, %d of the base; in %d the base would have written something else (%s)"):format(
      n,
      security,
      n - security,
      explanation.interventions or 0,
      MARK
    ),
    "Move over the text for a token's numbers; ]i and [i go to the next and the last intervention, q closes.",
    "",
  }
end

--- The text of the tokens as lines, and where each token stands in them.
---@param tokens table[]
---@param first integer
---@return string[] lines
---@return cosec.Span[] spans
function M.layout(tokens, first)
  local lines, spans = { "" }, {}
  for _, token in ipairs(tokens) do
    local span = { token = token, row = first + #lines - 1, col = #lines[#lines] }
    local parts = vim.split(token.text, "\n", { plain = true })
    lines[#lines] = lines[#lines] .. parts[1]
    for i = 2, #parts do
      lines[#lines + 1] = parts[i]
    end
    span.end_row, span.end_col = first + #lines - 1, #lines[#lines]
    spans[#spans + 1] = span
  end
  return lines, spans
end

---@param span cosec.Span
---@param alpha number?
---@return string[]
function M.details(span, alpha)
  local token = span.token
  local whose = token.role == "security" and "the security model's, accepted" or "the base's"
  if token.role == "base" and token.rejected then
    whose = ("the base's; the security model proposed %s, which was rejected"):format(quoted(token.rejected))
  end
  local lines = { ("%s is %s."):format(quoted(token.text), whose) }
  local compared = alpha and (" (accepted above α = %s)"):format(alpha) or ""
  lines[#lines + 1] = ("p (base) %s · q (security) %s · min(1, p/q) %s%s"):format(
    number(token.p),
    number(token.q),
    number(token.ratio),
    compared
  )
  if token.intervened then
    lines[#lines + 1] = ("%s The base would have written %s."):format(MARK, quoted(token.baseChoice or "?"))
  else
    lines[#lines + 1] = "The base would have written the same."
  end
  return lines
end

---@param spans cosec.Span[]
---@param row integer
---@param col integer
---@return cosec.Span?
function M.at(spans, row, col)
  for _, span in ipairs(spans) do
    local behind_start = row > span.row or (row == span.row and col >= span.col)
    local before_end = row < span.end_row or (row == span.end_row and col < span.end_col)
    if behind_start and before_end then
      return span
    end
  end
end

---@param buf integer
---@param spans cosec.Span[]
local function shade(buf, spans)
  for _, span in ipairs(spans) do
    local token = span.token
    local group = token.role == "security" and "CosecSecurity" or "CosecBase"
    if token.intervened then
      group = "CosecIntervened"
      api.nvim_buf_set_extmark(buf, namespace, span.row, span.col, {
        virt_text = { { MARK, "CosecMark" } },
        virt_text_pos = "inline",
      })
    end
    api.nvim_buf_set_extmark(buf, namespace, span.row, span.col, {
      end_row = span.end_row,
      end_col = span.end_col,
      hl_group = group,
    })
  end
  api.nvim_buf_set_extmark(buf, namespace, 0, 0, { end_row = 1, end_col = 0, hl_group = "CosecTitle" })
end

--- Writes the numbers of the token under the cursor below the text.
---@param buf integer
---@param view { spans: cosec.Span[], last: integer, alpha: number?, span: cosec.Span? }
local function follow(buf, view)
  local cursor = api.nvim_win_get_cursor(0)
  local span = M.at(view.spans, cursor[1] - 1, cursor[2])
  if span == view.span then
    return
  end
  view.span = span
  vim.bo[buf].modifiable = true
  api.nvim_buf_set_lines(buf, view.last, -1, false, span and M.details(span, view.alpha) or {})
  vim.bo[buf].modifiable = false
end

---@param spans cosec.Span[]
---@param step 1|-1
local function jump(spans, step)
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local first, last = step == 1 and 1 or #spans, step == 1 and #spans or 1
  for i = first, last, step do
    local span = spans[i]
    local order = span.row == row and span.col - col or span.row - row
    if span.token.intervened and order * step > 0 then
      api.nvim_win_set_cursor(0, { span.row + 1, span.col })
      return
    end
  end
end

--- Opens the view in a split below.
---@param explanation table Answer of `cosec/explain`.
function M.show(explanation)
  local lines = heading(explanation)
  local text, spans = M.layout(explanation.tokens, #lines)
  local first = #lines
  vim.list_extend(lines, text)
  vim.list_extend(lines, { "", ("─"):rep(40) })
  local view = { spans = spans, last = #lines, alpha = explanation.alpha }
  local buf = window.buffer(lines, "cosec-explain")
  vim.cmd(("botright %dsplit"):format(math.min(#lines + 4, math.max(8, math.floor(vim.o.lines / 2)))))
  api.nvim_win_set_buf(0, buf)
  vim.wo[0][0].number, vim.wo[0][0].relativenumber, vim.wo[0][0].list = false, false, false
  vim.wo[0][0].wrap = true
  shade(buf, spans)
  window.close_keys(buf)
  for key, step in pairs({ ["]i"] = 1, ["[i"] = -1 }) do
    vim.keymap.set("n", key, function()
      jump(spans, step)
    end, { buffer = buf, desc = "Intervention" })
  end
  api.nvim_create_autocmd("CursorMoved", {
    buffer = buf,
    callback = function()
      follow(buf, view)
    end,
  })
  local start = text[1]:find("%S") or 1
  api.nvim_win_set_cursor(0, { first + 1, start - 1 })
  follow(buf, view)
end

--- Asks for the last suggestion's explanation and shows it.
function M.open()
  if not client.get() then
    return client.say(client.state.problem or "there is no server here.")
  end
  client.request("cosec/explain", vim.empty_dict(), function(err, explanation)
    if err or type(explanation) ~= "table" then
      return client.say("there is no suggestion to explain yet.", vim.log.levels.INFO)
    end
    M.show(explanation)
  end)
end

return M
