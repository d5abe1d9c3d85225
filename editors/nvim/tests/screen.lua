-- A screen for a Neovim under test, attached as terminals and GUIs are: what its user sees in each frame.
local M = {}

---@class Screen
---@field rows table<integer, string[]>
---@field frames string[][] All lines, for each frame since `forget`.
---@field pipe uv.uv_pipe_t
local Screen = {}
Screen.__index = Screen

---@param row string[]
---@param column integer
---@param cells any[][]
local function draw(row, column, cells)
  for _, cell in ipairs(cells) do
    for _ = 1, cell[3] or 1 do
      column = column + 1
      row[column] = cell[1]
    end
  end
end

---@param name string
---@param arguments any[]
function Screen:event(name, arguments)
  if name == "grid_line" then
    local row = self.rows[arguments[2] + 1]
    draw(row, arguments[3], arguments[4])
  elseif name == "grid_clear" then
    for row = 1, self.height do
      self.rows[row] = {}
    end
  elseif name == "flush" then
    local frame = {}
    for row = 1, self.height do
      local cells = {}
      for column = 1, self.width do
        cells[column] = self.rows[row][column] or " "
      end
      frame[row] = table.concat(cells):gsub(" +$", "")
    end
    table.insert(self.frames, frame)
  end
end

---@param message any
function Screen:take(message)
  if message[1] ~= 2 or message[2] ~= "redraw" then
    return
  end
  for _, batch in ipairs(message[3]) do
    for i = 2, #batch do
      self:event(batch[1], batch[i])
    end
  end
end

--- Attaches a screen to the Neovim that listens there.
---@param socket string
---@param width integer
---@param height integer
---@return Screen
function M.attach(socket, width, height)
  local self = setmetatable({ rows = {}, frames = {}, width = width, height = height }, Screen)
  self:event("grid_clear", {})
  local handle = function(_, text)
    return text
  end
  local unpack_message = vim.mpack.Unpacker({ ext = { [0] = handle, [1] = handle, [2] = handle } })
  self.pipe = assert(vim.uv.new_pipe(false))
  local connected = false
  self.pipe:connect(socket, function(err)
    assert(not err, err)
    connected = true
  end)
  assert(vim.wait(5000, function()
    return connected
  end))
  self.pipe:read_start(function(_, chunk)
    local position = 1
    while chunk and position <= #chunk do
      local message, rest = unpack_message(chunk, position)
      position = rest
      if message ~= nil then
        self:take(message)
      end
    end
  end)
  local options = { ext_linegrid = true, rgb = true }
  self.pipe:write(vim.mpack.encode({ 0, 1, "nvim_ui_attach", { width, height, options } }))
  assert(
    vim.wait(5000, function()
      return #self.frames > 0
    end),
    "no first frame"
  )
  return self
end

--- Forgets the frames so far.
function Screen:forget()
  self.frames = {}
end

--- Whether a line of the last frame holds the text.
---@param text string
---@return boolean
function Screen:shows(text)
  for _, line in ipairs(self.frames[#self.frames] or {}) do
    if line:find(text, 1, true) then
      return true
    end
  end
  return false
end

return M
