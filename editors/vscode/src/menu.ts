/** The menu behind the status bar's entry: what is on, why there was nothing, and what can be done. */
import * as vscode from 'vscode';
import { otherCompletions } from './others';
import type { Status } from './protocol';
import { languageEnabled, withLanguage } from './section';
import type { Session } from './session';
import { readEnabled, readLanguages, write } from './settings';
import { bytes, hardening, statusText } from './statusText';

interface Entry extends vscode.QuickPickItem {
  run?: () => unknown;
}

const MODES = [
  { label: 'cosec', description: 'the base model, hardened by the security model' },
  { label: 'off', description: 'the base model alone, not hardened' },
  { label: 'security', description: 'the security model alone' },
] as const;

export async function showMenu(session: Session): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  const status = await session.status(document);
  const summary = statusText(session.view, false).summary;
  const chosen = await vscode.window.showQuickPick(status ? entries(session, status, document) : whenDown(session), {
    title: 'CoSec',
    placeHolder: summary,
    matchOnDescription: true,
  });
  // Else the focus goes back to the status bar, whose tooltip then covers what is beside it.
  await vscode.commands.executeCommand('workbench.action.focusActiveEditorGroup');
  await chosen?.run?.();
}

function entries(session: Session, status: Status, document: vscode.TextDocument | undefined): Entry[] {
  const list: Entry[] = [];
  if (status.models.state === 'missing') {
    list.push({ label: `$(cloud-download) Download the models (${bytes(status.models.downloadBytes)})`, run: () => vscode.commands.executeCommand('cosec.downloadModels') });
  }
  if (status.models.state === 'failed') {
    list.push({ label: '$(cloud-download) Try to get the models again', run: () => vscode.commands.executeCommand('cosec.downloadModels') });
  }
  list.push(separator('Suggestions'), ...toggles(session, status, document));
  list.push(
    separator('How'),
    { label: '$(settings) Mode', description: `${status.mode} – ${hardening(status)}`, run: () => chooseMode(status) },
    { label: '$(server) Profile', description: status.profile, run: () => chooseProfile(status) },
    separator('Why'),
    { label: '$(question) Why was there nothing?', description: whyNothing(status), run: () => vscode.window.showInformationMessage(sentence(whyNothing(status))) },
    { label: '$(list-selection) Explain the last suggestion', run: () => vscode.commands.executeCommand('cosec.explain') },
    ...upkeep(),
  );
  return list;
}

function toggles(session: Session, status: Status, document: vscode.TextDocument | undefined): Entry[] {
  const list: Entry[] = [
    {
      label: status.enabled ? '$(debug-pause) Pause all suggestions' : '$(play) Resume suggestions',
      run: () => write('enabled', !readEnabled()),
    },
  ];
  if (!document) {
    return list;
  }
  const languages = readLanguages();
  const language = document.languageId;
  const on = languageEnabled(languages, language);
  list.push({
    label: on ? `$(circle-slash) Pause for ${language}` : `$(play) Resume for ${language}`,
    run: () => write('languages', withLanguage(languages, language, !on)),
  });
  list.push({
    label: status.document?.completed === false ? '$(file) Pause or resume for this file' : '$(file) Pause for this file',
    description: status.document?.completed === false ? (status.document.reason ?? '') : 'until this window is closed',
    run: () => toggleFile(session, document),
  });
  return list;
}

export async function toggleFile(session: Session, document: vscode.TextDocument): Promise<void> {
  const uri = session.client?.code2ProtocolConverter.asUri(document.uri);
  const answer = await session.command<{ enabled: boolean }>('cosec-ls.toggle', { uri });
  if (answer) {
    vscode.window.setStatusBarMessage(`CoSec: suggestions ${answer.enabled ? 'resumed' : 'paused'} for this file`, 4000);
  }
}

/** The document's own reason first; the last question's otherwise. */
export function whyNothing(status: Status): string {
  const document = status.document;
  if (document?.completed === false && document.reason) {
    return document.reason;
  }
  return document?.lastEmptyReason ?? (document ? undefined : status.lastEmptyReason) ?? 'every question so far was answered';
}

function sentence(reason: string): string {
  return `${reason.charAt(0).toUpperCase()}${reason.slice(1)}${/[.!?…]$/.test(reason) ? '' : '.'}`;
}

async function chooseMode(status: Status): Promise<void> {
  const items = MODES.map((mode) => ({ ...mode, picked: mode.label === status.mode, detail: mode.label === status.mode ? 'now' : '' }));
  const chosen = await vscode.window.showQuickPick(items, { title: 'CoSec: mode' });
  if (chosen) {
    await write('mode', chosen.label);
  }
}

async function chooseProfile(status: Status): Promise<void> {
  const profiles = status.profiles ?? [];
  const items = profiles.map(({ name, base, security }) => ({ label: name, description: name === status.profile ? 'now' : '', detail: `${base}, hardened by ${security}` }));
  const chosen = await vscode.window.showQuickPick(items, { title: 'CoSec: profile' });
  if (chosen) {
    await write('profile', chosen.label);
  }
}

function whenDown(session: Session): Entry[] {
  const view = session.view;
  const list: Entry[] = [];
  if (view.kind === 'problem') {
    list.push({ label: `$(error) ${view.problem.sentence}`, run: () => vscode.commands.executeCommand('cosec.showOutput') });
    if (view.problem.remedies.includes('install')) {
      list.push({ label: '$(book) How to install', run: () => vscode.commands.executeCommand('cosec.howToInstall') });
    }
  }
  return [...list, ...upkeep()];
}

function upkeep(): Entry[] {
  const command = (label: string, id: string): Entry => ({ label, run: () => vscode.commands.executeCommand(id) });
  return [
    separator('Server'),
    command('$(debug-restart) Restart the server', 'cosec.restart'),
    command('$(output) Show the output', 'cosec.showOutput'),
    command('$(gear) Settings', 'cosec.openSettings'),
    command('$(mortar-board) First steps', 'cosec.walkthrough'),
    ...otherCompletions().map((label) => ({ label: `$(info) ${label}` })),
  ];
}

function separator(label: string): Entry {
  return { label, kind: vscode.QuickPickItemKind.Separator };
}
