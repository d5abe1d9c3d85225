/** Puts the parts together: one server for the window, suggestions from it, its state in the status bar. */
import * as vscode from 'vscode';
import { ExplainPanel } from './explain';
import { showMenu, toggleFile } from './menu';
import { languageEnabled } from './section';
import { Session } from './session';
import { readEnabled, readLanguages, readString } from './settings';
import { StatusBar } from './statusBar';
import { Transfers } from './transfers';

let session: Session | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const output = vscode.window.createOutputChannel('CoSec', { log: true });
  const transfers = new Transfers(context.globalState, output);
  const current = new Session(context.extensionPath, output, transfers);
  session = current;
  const statusBar = new StatusBar();
  const explain = new ExplainPanel(context.extensionUri, current);
  const show = () => {
    statusBar.show(current.view, pausedHere());
  };
  const pull = () => {
    transfers.begin();
    void current.command('cosec-ls.pull');
  };
  context.subscriptions.push(
    vscode.commands.registerCommand('cosec.downloadModels', pull),
    output,
    statusBar,
    explain,
    current.onDidChange((view) => {
      show();
      if (view.kind === 'running') {
        const models = view.status?.models;
        if (models) {
          transfers.follow(models, pull);
        }
        if (models?.state === 'missing' && readString('download') === 'ask') {
          void transfers.ask(models, pull);
        }
      } else {
        transfers.clear();
      }
    }),
    vscode.window.onDidChangeActiveTextEditor(show),
    vscode.extensions.onDidChange(show),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('cosec-ls.server.path')) {
        void current.restart();
      } else if (event.affectsConfiguration('cosec-ls')) {
        current.settingsChanged();
        show();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => void current.restart()),
    ...commands(context, current, explain, output),
  );
  await current.start(undefined);
}

export async function deactivate(): Promise<void> {
  await session?.stop();
}

function commands(context: vscode.ExtensionContext, current: Session, explain: ExplainPanel, output: vscode.LogOutputChannel): vscode.Disposable[] {
  const register = (id: string, run: () => unknown) => vscode.commands.registerCommand(id, run);
  return [
    register('cosec.menu', () => showMenu(current)),
    register('cosec.explain', () => explain.show()),
    register('cosec.restart', () => current.restart()),
    register('cosec.showOutput', () => {
      output.show();
    }),
    register('cosec.openSettings', () => vscode.commands.executeCommand('workbench.action.openSettings', `@ext:${context.extension.id}`)),
    register('cosec.howToInstall', () => vscode.commands.executeCommand('markdown.showPreview', vscode.Uri.joinPath(context.extensionUri, 'walkthrough', 'install.md'))),
    register('cosec.walkthrough', () => vscode.commands.executeCommand('workbench.action.openWalkthrough', `${context.extension.id}#cosec.start`, false)),
    register('cosec.toggleFile', () => {
      const document = vscode.window.activeTextEditor?.document;
      return document && toggleFile(current, document);
    }),
    register('cosec.nextCandidate', () => current.suggestions?.cycle(1)),
    register('cosec.previousCandidate', () => current.suggestions?.cycle(-1)),
    register('cosec.dismiss', () => current.suggestions?.dismiss()),
  ];
}

/** Whether what is on the screen is not completed because of a setting. */
function pausedHere(): boolean {
  const document = vscode.window.activeTextEditor?.document;
  return !readEnabled() || (document !== undefined && !languageEnabled(readLanguages(), document.languageId));
}
