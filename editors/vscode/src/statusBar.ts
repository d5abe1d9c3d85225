/** The entry in the status bar: state at a glance, the rest in its tooltip, the menu behind it. */
import * as vscode from 'vscode';
import { otherCompletions } from './others';
import { statusText } from './statusText';
import type { View } from './statusText';

export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('cosec.status', vscode.StatusBarAlignment.Right, 100);

  constructor() {
    this.item.name = 'CoSec';
    this.item.command = 'cosec.menu';
    this.item.show();
  }

  dispose(): void {
    this.item.dispose();
  }

  show(view: View, pausedHere: boolean): void {
    const shown = statusText(view, pausedHere);
    this.item.text = shown.text;
    this.item.accessibilityInformation = { label: `CoSec: ${shown.summary}`, role: 'button' };
    this.item.backgroundColor = shown.severity === 'none' ? undefined : new vscode.ThemeColor(`statusBarItem.${shown.severity}Background`);
    const tooltip = new vscode.MarkdownString(undefined, true);
    tooltip.appendText(shown.summary);
    for (const line of [...shown.details, ...otherCompletions()]) {
      tooltip.appendMarkdown('\n\n');
      tooltip.appendText(line);
    }
    this.item.tooltip = tooltip;
  }
}
