-- cosec-ls for Neovim 0.12 and later: put this directory on 'runtimepath' and call
--   vim.lsp.enable("cosec_ls")
--   vim.lsp.inline_completion.enable()
-- Accept a suggestion with vim.lsp.inline_completion.get(), for instance:
--   vim.keymap.set("i", "<Tab>", function()
--     return vim.lsp.inline_completion.get() and "" or "<Tab>"
--   end, { expr = true })
return {
  cmd = { "cosec-ls", "serve" },
  -- Every buffer that is a file: which languages are completed is the server's setting `languages`.
  root_markers = { ".git" },
  settings = { ["cosec-ls"] = {} },
}
