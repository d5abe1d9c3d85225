/** The settings of `cosec-ls`: what of them is the server's, and how the menu writes them. */
import * as vscode from 'vscode';
import { forServer } from './section';

export const SECTION = 'cosec-ls';

/** Everything that is the server's. */
export function settingsForServer(): Record<string, unknown> {
  return forServer(vscode.workspace.getConfiguration().get(SECTION));
}

/** Writes where the setting is written already, else for the user. */
export async function write(name: string, value: unknown): Promise<void> {
  const configuration = vscode.workspace.getConfiguration(SECTION);
  const there = configuration.inspect(name);
  const target = there?.workspaceValue === undefined ? vscode.ConfigurationTarget.Global : vscode.ConfigurationTarget.Workspace;
  await configuration.update(name, value, target);
}

/** What is set, or the default; `undefined` where neither is, or where it is of another kind. */
export function readString(name: string): string | undefined {
  const value: unknown = vscode.workspace.getConfiguration(SECTION).get(name);
  return typeof value === 'string' ? value : undefined;
}

export function readEnabled(): boolean {
  return vscode.workspace.getConfiguration(SECTION).get('enabled') !== false;
}

export function readLanguages(): Record<string, boolean> {
  const value: unknown = vscode.workspace.getConfiguration(SECTION).get('languages');
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).filter((entry): entry is [string, boolean] => typeof entry[1] === 'boolean')) : {};
}
