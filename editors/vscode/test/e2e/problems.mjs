// What goes wrong, and the one sentence that is said then. Each begins and ends with a server that runs.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { serverPids } from './checks.mjs';
import { QUERY } from './fixtures.mjs';
import { until } from './workbench.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A file that is taken for the server. */
function standIn(w, name, text, mode) {
  const file = path.join(w.folder, name);
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

/** Names a server in the settings, and reads the one sentence that is said, in the message and in the status bar. */
async function said(w, program) {
  await w.ask('command', { id: 'notifications.clearAll' });
  await w.ask('configure', { name: 'cosec-ls.server.path', value: program });
  return sentence(w);
}

async function sentence(w) {
  await until('a message', async () => (await w.notifications()).length > 0, 40);
  await pause(1500); // whatever else would be said
  const notifications = await w.notifications();
  assert.equal(notifications.length, 1, notifications.join(' | '));
  const label = await w.statusLabel();
  assert.ok(label.includes(notifications[0]), `the status bar says: ${label}`);
  assert.ok((await w.page.locator('.notification-list-item .monaco-button:visible').count()) > 0, 'there is no button');
  return notifications[0];
}

async function recovers(w) {
  await w.ask('command', { id: 'notifications.clearAll' });
  await w.ask('configure', { name: 'cosec-ls.server.path', value: null });
  await until('the server', () => serverPids(w).length === 1, 30);
  await until('its state', async () => (await w.status().catch(() => undefined)) !== undefined, 30);
  await until('the status bar', async () => !/program|not|ended|protocol/i.test(await w.statusLabel()), 20);
}

const OTHER_PROTOCOL = `#!/usr/bin/env node
let input = '';
process.stdin.on('data', (data) => {
  input += data;
  const at = input.indexOf('\\r\\n\\r\\n');
  if (at >= 0 && input.includes('initialize')) {
    input = '';
    const body = JSON.stringify({ jsonrpc: '2.0', id: 0, result: { capabilities: { experimental: { cosec: { version: 99 } } }, serverInfo: { name: 'cosec-ls', version: '9.9.9' } } });
    process.stdout.write(\`Content-Length: \${Buffer.byteLength(body)}\\r\\n\\r\\n\${body}\`);
  }
});
process.stdin.on('end', () => process.exit(0));
`;

export const PROBLEMS = [
  [
    'a setting that names no program',
    async (w) => {
      const text = await said(w, path.join(w.folder, 'nowhere'));
      assert.match(text, /nowhere, which is not there: correct it/);
      const labels = await w.openMenu();
      assert.ok(labels.some((label) => label.includes('which is not there')), labels.join('; '));
      await w.press('Escape');
      await recovers(w);
      return text;
    },
  ],
  [
    'a file that is not executable',
    async (w) => {
      const text = await said(w, standIn(w, 'plain', 'x', 0o644));
      assert.match(text, /plain is not executable: make it so/);
      await recovers(w);
      return text;
    },
  ],
  [
    'a program that ends at once',
    async (w) => {
      const text = await said(w, standIn(w, 'ends', '#!/bin/sh\necho "no such library" >&2\nexit 3\n', 0o755));
      assert.match(text, /ended with exit code 3 .*no such library/);
      await recovers(w);
      return text;
    },
  ],
  [
    'a program that this machine cannot run',
    async (w) => {
      const text = await said(w, standIn(w, 'foreign', '\x7fELF not really', 0o755));
      assert.match(text, /foreign (cannot be run here|ended)/);
      await recovers(w);
      return text;
    },
  ],
  [
    'a server of another version',
    async (w) => {
      const text = await said(w, standIn(w, 'newer', OTHER_PROTOCOL, 0o755));
      assert.match(text, /cosec-ls 9\.9\.9 and speaks another protocol .*update the extension/);
      await recovers(w);
      return text;
    },
  ],
  [
    'no server anywhere, and one that is installed later',
    async (w) => {
      const [folder] = readdirSync(w.extensions).filter((name) => name.startsWith('cosec-ls.cosec-ls'));
      const program = path.join(w.extensions, folder, 'server', 'cosec-ls');
      const later = path.join(w.home, '.local', 'bin', 'cosec-ls');
      assert.ok(existsSync(program));
      renameSync(program, `${program}.away`);
      await w.ask('command', { id: 'notifications.clearAll' });
      await w.ask('command', { id: 'cosec.restart' });
      const text = await sentence(w);
      assert.match(text, /was not found: install it/);
      mkdirSync(path.dirname(later), { recursive: true });
      renameSync(`${program}.away`, later);
      await w.ask('command', { id: 'notifications.clearAll' });
      await w.ask('command', { id: 'cosec.restart' });
      await until('the models', async () => (await w.status().catch(() => undefined))?.models.state === 'ready', 30);
      await w.openFile('find_user.py');
      await w.place(QUERY);
      await w.type('(');
      await w.waitForGhost();
      renameSync(later, program);
      await w.ask('command', { id: 'cosec.restart' });
      await until('the server', () => serverPids(w).length === 1, 30);
      return text;
    },
  ],
];
