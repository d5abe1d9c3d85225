/** The panel beside the editor that explains the last suggestion. */
import * as vscode from 'vscode';
import { explainHtml } from './explainHtml';
import type { Explanation } from './protocol';
import type { Session } from './session';

export class ExplainPanel implements vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly session: Session,
  ) {}

  dispose(): void {
    this.panel?.dispose();
  }

  async show(): Promise<void> {
    const explanation = await this.session.command<Explanation | null>('cosec-ls.explain', {});
    const panel = this.panel ?? this.create();
    const media = vscode.Uri.joinPath(this.extensionUri, 'media');
    const address = (name: string) => panel.webview.asWebviewUri(vscode.Uri.joinPath(media, name)).toString();
    panel.webview.html = explainHtml(explanation, { cspSource: panel.webview.cspSource, style: address('explain.css'), script: address('explain.js') });
    panel.reveal(undefined, false);
  }

  private create(): vscode.WebviewPanel {
    const panel = vscode.window.createWebviewPanel('cosec.explain', 'CoSec: Explain', vscode.ViewColumn.Beside, {
      enableScripts: true,
      localResourceRoots: [vscode.Uri.joinPath(this.extensionUri, 'media')],
    });
    panel.iconPath = vscode.Uri.joinPath(this.extensionUri, 'images', 'icon.png');
    panel.onDidDispose(() => (this.panel = undefined));
    this.panel = panel;
    return panel;
  }
}
