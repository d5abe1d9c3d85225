std = "luajit"
globals = { "vim", "Test" }
self = false
max_line_length = false
