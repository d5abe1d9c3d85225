-- cosec-ls as a plain client of Neovim 0.12, for those who want no more than
--   vim.lsp.enable("cosec_ls")
--   vim.lsp.inline_completion.enable()
-- with this directory on 'runtimepath'. Accept a suggestion with vim.lsp.inline_completion.get(), for instance:
--   vim.keymap.set("i", "<Tab>", function()
--     return vim.lsp.inline_completion.get() and "" or "<Tab>"
--   end, { expr = true })
-- `require("cosec").setup{}` does all that and more; not both.
return {
  cmd = { "cosec-ls", "serve" },
  -- Every buffer that is a file: which languages are completed is the server's setting `languages`.
  root_markers = { ".git" },
  settings = { ["cosec-ls"] = {} },
}
