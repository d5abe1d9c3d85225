// Answers the end-to-end test: runs a command, or says what the active document holds. On a port of its own, told by a file.
const fs = require('node:fs');
const http = require('node:http');
const vscode = require('vscode');

const questions = {
  command: ({ id, args }) => vscode.commands.executeCommand(id, ...(args ?? [])),
  editors: () => vscode.window.visibleTextEditors.map((editor) => editor.document.uri.toString()),
  document: () => {
    const editor = vscode.window.activeTextEditor;
    return editor && { text: editor.document.getText(), line: editor.selection.active.line, character: editor.selection.active.character, language: editor.document.languageId, uri: editor.document.uri.toString() };
  },
  replace: async ({ text, line, character }) => {
    const editor = vscode.window.activeTextEditor;
    await editor.edit((edit) => edit.replace(new vscode.Range(0, 0, editor.document.lineCount, 0), text));
    const at = new vscode.Position(line, character);
    editor.selection = new vscode.Selection(at, at);
  },
  configure: ({ name, value }) => vscode.workspace.getConfiguration().update(name, value ?? undefined, vscode.ConfigurationTarget.Global),
  configured: ({ name }) => vscode.workspace.getConfiguration().get(name),
  extensions: () => vscode.extensions.all.map((extension) => [extension.id, extension.isActive]),
};

exports.activate = () => {
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (data) => (body += data));
    request.on('end', async () => {
      try {
        const { question, ...parameters } = JSON.parse(body);
        const answer = await questions[question](parameters);
        response.end(JSON.stringify({ answer: answer ?? null }));
      } catch (error) {
        response.end(JSON.stringify({ error: String(error) }));
      }
    });
  });
  server.listen(0, '127.0.0.1', () => fs.writeFileSync(process.env.COSEC_PROBE, String(server.address().port)));
};
