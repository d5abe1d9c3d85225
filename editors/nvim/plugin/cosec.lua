-- Commands, and the plugin switched on with its defaults where nobody calls `require("cosec").setup()`.
if vim.g.loaded_cosec then
  return
end
vim.g.loaded_cosec = true

---@param list fun(): string[]
---@return fun(lead: string): string[]
local function complete(list)
  return function(lead)
    return vim.tbl_filter(function(word)
      return vim.startswith(word, lead)
    end, list())
  end
end

local function command(name, run, options)
  vim.api.nvim_create_user_command(name, run, options)
end

command("CosecStatus", function()
  require("cosec.status").open()
end, { desc = "What cosec is doing" })

command("CosecExplain", function()
  require("cosec.explain").open()
end, { desc = "Why the last suggestion is what it is" })

command("CosecToggle", function(args)
  require("cosec.commands").toggle(args.args)
end, {
  nargs = "?",
  complete = complete(function()
    return require("cosec.commands").TOGGLES
  end),
  desc = "Suggestions on or off",
})

command("CosecMode", function(args)
  require("cosec.commands").mode(args.args)
end, {
  nargs = "?",
  complete = complete(function()
    return require("cosec.commands").MODES
  end),
  desc = "Co-decoding, the base alone, or the security model alone",
})

command("CosecProfile", function(args)
  require("cosec.commands").profile(args.args)
end, {
  nargs = "?",
  complete = complete(function()
    return require("cosec.commands").profiles()
  end),
  desc = "Another pair of models",
})

command("CosecPull", function(args)
  require("cosec.commands").pull(args.bang)
end, { bang = true, desc = "Download the models (! stops it)" })

command("CosecRestart", function()
  require("cosec.commands").restart()
end, { desc = "Start the server anew" })

-- After the user's own files, so that a call of setup() with options comes first; whoever wants the plain client alone
-- (`vim.lsp.enable("cosec_ls")`) gets that alone, and `vim.g.cosec_setup = false` says no to all.
local function set_up()
  if vim.g.cosec_setup == nil and not require("cosec.conflicts").enabled() then
    require("cosec").setup(vim.g.cosec or {})
  end
end

if vim.v.vim_did_enter == 1 then
  vim.schedule(set_up)
else
  vim.api.nvim_create_autocmd("VimEnter", { once = true, callback = set_up })
end
