// Installs the package into an empty VS Code and tries everything in it for real. A line per check.
// Usage: node main.mjs --server PROGRAM --code-server FOLDER --browser PROGRAM [--only PATTERN] [--pictures FOLDER] [--failed FOLDER]
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CHECKS, serverPids } from './checks.mjs';
import { FILES, QUERY } from './fixtures.mjs';
import { MISSING } from './missing.mjs';
import { takePictures } from './pictures.mjs';
import { PROBLEMS } from './problems.mjs';
import { Workbench, until } from './workbench.mjs';

const string = { type: 'string' };
const { values } = parseArgs({ options: { server: string, 'code-server': string, browser: string, only: string, pictures: string, failed: string } });
const here = path.dirname(fileURLToPath(import.meta.url));
const extension = path.join(here, '..', '..');
const started = Date.now();
const work = mkdtempSync(path.join(tmpdir(), 'cosec-vscode-'));
const CHECK_MS = 120_000;
let failures = 0;
const workbenches = [];
async function check(w, name, run) {
  if (values.only && !new RegExp(values.only).test(name)) {
    return;
  }
  if (!(await attempt(w, name, run, false))) {
    // A browser drops a key or a folder now and then. What fails twice in a row fails.
    await attempt(w, name, run, true);
  }
}

/** Whether it holds; only the last attempt counts as a failure. */
async function attempt(w, name, run, last) {
  const begin = Date.now();
  try {
    const detail = await Promise.race([run(w), new Promise((_, reject) => setTimeout(reject, CHECK_MS, new Error('it did not end')).unref())]);
    console.log(`ok    ${name} (${((Date.now() - begin) / 1000).toFixed(1)} s)${detail ? `: ${detail}` : ''}`);
    return true;
  } catch (error) {
    failures += last ? 1 : 0;
    console.log(`${last ? 'FAIL ' : 'again'} ${name}: ${error.stack}`);
    console.log(`      status bar: ${await w.statusLabel().catch(() => '')}; messages: ${JSON.stringify(await w.notifications().catch(() => []))}`);
    if (values.failed) {
      mkdirSync(values.failed, { recursive: true });
      await w.page?.screenshot({ path: path.join(values.failed, `${failures}.png`) }).catch(() => undefined);
    }
    await w.press('Escape').catch(() => undefined);
    return false;
  }
}

function packages() {
  const vsix = path.join(work, 'cosec-ls.vsix');
  const probe = path.join(work, 'probe.vsix');
  const node = (file, args, cwd) => execFileSync(process.execPath, [file, ...args], { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  node('scripts/package.mjs', ['--target', `${process.platform}-${process.arch}`, '--server', path.resolve(values.server), '--out', vsix], extension);
  const vsce = path.join(extension, 'node_modules', '@vscode', 'vsce', 'vsce');
  node(vsce, ['package', '--no-dependencies', '--allow-missing-repository', '--skip-license', '--out', probe], path.join(here, 'probe'));
  return { vsix, probe };
}

function workspace(name, files) {
  const folder = path.join(work, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(path.join(folder, file), text);
  }
  return folder;
}

function newWorkbench(name, { vsix, probe }, options = {}) {
  const w = new Workbench({ folder: path.join(work, name), codeServer: values['code-server'], browser: values.browser, ...options });
  workbenches.push(w);
  w.install(vsix);
  w.install(probe);
  return w;
}

async function firstGhost(w, folder) {
  const opened = Date.now();
  await w.open(folder);
  const window = Date.now();
  await w.openFile('find_user.py');
  await w.place(QUERY);
  await w.type('(');
  const text = await w.waitForGhost();
  const models = (await w.status()).models;
  assert.equal(models.profile, 'default');
  return `${((Date.now() - opened) / 1000).toFixed(1)} s after the workspace was opened, ${((Date.now() - window) / 1000).toFixed(1)} s after the window was there, models loaded meanwhile: ${JSON.stringify(text)}`;
}

async function tenFolders(w) {
  const folders = Array.from({ length: 10 }, (_, at) => ({ path: workspace(`ten/folder${at}`, { [`part${at}.py`]: QUERY.replace('‸', '') }) }));
  const file = path.join(work, 'ten', 'ten.code-workspace');
  writeFileSync(file, JSON.stringify({ folders }));
  await w.open(file);
  await until('the models', async () => (await w.status().catch(() => undefined))?.models.state === 'ready', 60);
  assert.equal(serverPids(w).length, 1, 'more than one server runs');
  await w.page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'folder7' }).first().click();
  await w.openFile('part7.py');
  await w.place(QUERY);
  await w.type('(');
  const ghost = await w.waitForGhost();
  return JSON.stringify(ghost);
}

async function all() {
  const built = packages();
  const folder = workspace('shop', FILES);
  const w = newWorkbench('main', built);
  try {
    await w.start();
    await check(w, 'the first ghost text, from an empty installation', () => firstGhost(w, folder));
    if (!w.page) {
      await w.open(folder);
    }
    if (values.pictures) {
      await takePictures(w, values.pictures);
    }
    await w.ask('configure', { name: 'cosec-ls.profile', value: 'small' });
    await until('the small profile', async () => (await w.status().catch(() => undefined))?.models.profile === 'small', 60);
    for (const [name, run] of CHECKS) {
      await check(w, name, run);
    }
    await check(w, 'a workspace of ten folders has one server and suggestions', tenFolders);
    if (PROBLEMS.length > 0) {
      await w.open(folder);
      await until('the server', () => serverPids(w).length === 1, 30);
      for (const [name, run] of PROBLEMS) {
        await check(w, name, run);
      }
    }
  } finally {
    await w.stop();
  }
  await MISSING({ check, newWorkbench: (name, options) => newWorkbench(name, built, options), folder, work });
}

async function cleanUp() {
  await Promise.all(workbenches.map((w) => w.stop()));
  rmSync(work, { recursive: true, force: true });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => void cleanUp().finally(() => process.exit(2)));
}
try {
  await all();
} finally {
  await cleanUp();
}
console.log(`${failures === 0 ? 'all of it holds' : `${failures} failed`}, ${((Date.now() - started) / 1000).toFixed(0)} s`);
process.exitCode = failures === 0 ? 0 : 1;
