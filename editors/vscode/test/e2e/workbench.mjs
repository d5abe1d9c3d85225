// VS Code in a browser, driven by its keys and its page: code-server on a port of its own, headless Chromium.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

/** Waits until `look` gives something true; says what it waited for when it gives up. */
export async function until(what, look, seconds = 30, everyMs = 50) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const seen = await look();
    if (seen) {
      return seen;
    }
    if (Date.now() > deadline) {
      throw new Error(`waited ${seconds} s for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/** One user: settings, extensions and home of their own, nothing of the machine's. */
export class Workbench {
  constructor({ folder, codeServer, browser, settings = {}, env = {} }) {
    this.folder = folder;
    this.extraEnv = env;
    this.entry = path.join(codeServer, 'node_modules', 'code-server', 'out', 'node', 'entry.js');
    this.browserPath = browser;
    this.userData = path.join(folder, 'user-data');
    this.extensions = path.join(folder, 'extensions');
    this.home = path.join(folder, 'home');
    this.probePort = path.join(folder, 'probe-port');
    for (const each of [this.userData, this.extensions, this.home, path.join(this.userData, 'User')]) {
      mkdirSync(each, { recursive: true });
    }
    this.settings = {
      'workbench.startupEditor': 'none',
      'workbench.tips.enabled': false,
      'workbench.layoutControl.enabled': false,
      'window.commandCenter': false,
      'chat.commandCenter.enabled': false,
      'editor.minimap.enabled': false,
      'editor.accessibilitySupport': 'off',
      'editor.fontSize': 14,
      'extensions.ignoreRecommendations': true,
      'extensions.autoCheckUpdates': false,
      'files.autoSave': 'off',
      'git.enabled': false,
      'telemetry.telemetryLevel': 'off',
      'security.workspace.trust.enabled': false,
      'workbench.colorTheme': 'Default Dark Modern',
      'cosec-ls.idleUnloadMinutes': 0,
      'cosec-ls.timeBudgetMs': 60000, // a loaded machine is slow, and nobody asks again here
      ...settings,
    };
    this.writeSettings({});
  }

  get env() {
    const cache = process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME, '.cache');
    return { ...process.env, HOME: this.home, XDG_CACHE_HOME: cache, XDG_CONFIG_HOME: path.join(this.home, '.config'), XDG_DATA_HOME: path.join(this.home, '.local', 'share'), PATH: '/usr/local/bin:/usr/bin:/bin', COSEC_PROBE: this.probePort, ...this.extraEnv };
  }

  writeSettings(changes) {
    this.settings = { ...this.settings, ...changes };
    writeFileSync(path.join(this.userData, 'User', 'settings.json'), JSON.stringify(this.settings, null, 2));
  }

  readSettings() {
    return JSON.parse(readFileSync(path.join(this.userData, 'User', 'settings.json'), 'utf8'));
  }

  install(vsix) {
    const run = spawnSync(process.execPath, [this.entry, '--user-data-dir', this.userData, '--extensions-dir', this.extensions, '--install-extension', vsix], { env: this.env, encoding: 'utf8' });
    if (run.status !== 0 || !/successfully installed/.test(run.stdout)) {
      throw new Error(`the extension was not installed: ${run.stdout}${run.stderr}`);
    }
  }

  async start() {
    const args = [this.entry, '--auth', 'none', '--bind-addr', '127.0.0.1:0', '--disable-telemetry', '--disable-update-check', '--disable-workspace-trust', '--user-data-dir', this.userData, '--extensions-dir', this.extensions];
    this.server = spawn(process.execPath, args, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let output = '';
    for (const stream of [this.server.stdout, this.server.stderr]) {
      stream.on('data', (data) => (output += data));
    }
    this.address = await until('code-server', () => /HTTP server listening on (http:\/\/[^/\s]+)/.exec(output)?.[1], 60);
    this.context = await chromium.launchPersistentContext(path.join(this.folder, 'browser'), {
      executablePath: this.browserPath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
      viewport: { width: 1100, height: 700 },
      permissions: ['clipboard-read', 'clipboard-write'],
    });
  }

  /** Opens a folder or a .code-workspace in a new page, and forgets the old one. */
  async open(place) {
    await this.page?.close();
    rmSync(this.probePort, { force: true });
    this.page = await this.context.newPage();
    this.page.setDefaultTimeout(60_000);
    const kind = place.endsWith('.code-workspace') ? 'workspace' : 'folder';
    await this.page.goto(`${this.address}/?${kind}=${encodeURIComponent(place)}`, { timeout: 120_000 });
    await this.page.locator('.monaco-workbench').waitFor({ timeout: 60_000 });
    await until('the extension host', () => existsSync(this.probePort) && readFileSync(this.probePort, 'utf8') !== '', 120);
  }

  async stop() {
    await this.context?.close().catch(() => undefined);
    if (this.server && this.server.exitCode === null) {
      process.kill(-this.server.pid, 'SIGTERM');
      await Promise.race([new Promise((resolve) => this.server.on('exit', resolve)), new Promise((resolve) => setTimeout(resolve, 5000))]);
      try {
        process.kill(-this.server.pid, 'SIGKILL');
      } catch {
        // All of them are gone.
      }
    }
  }

  // --- keys and commands

  async press(...keys) {
    for (const key of keys) {
      await this.page.keyboard.press(key);
    }
  }

  async type(text, delay = 60) {
    await this.page.keyboard.type(text, { delay });
  }

  async command(title) {
    await this.press('F1');
    const input = this.page.locator('.quick-input-widget:visible input').first();
    await input.waitFor();
    await input.fill(`>${title}`);
    const row = this.page.locator('.quick-input-list .monaco-list-row', { hasText: title }).first();
    await row.waitFor({ timeout: 60_000 });
    await this.press('Enter');
  }

  /** Opens a file of the explorer, and puts the cursor at the end of a line (1-based). */
  async openFile(name, line) {
    const row = this.page.locator('.explorer-folders-view .monaco-list-row', { has: this.page.getByText(name, { exact: true }) }).first();
    await row.waitFor({ timeout: 60_000 });
    await row.dblclick();
    await this.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor({ timeout: 60_000 });
    await this.page.locator('.editor-group-container.active .monaco-editor.focused').first().waitFor({ timeout: 60_000 });
    await until(`${name} in the extension host`, async () => (await this.document())?.uri.endsWith(`/${name}`), 60);
    if (line !== undefined) {
      await this.goTo(line);
    }
  }

  async goTo(line) {
    await this.press('Control+g');
    const input = this.page.locator('.quick-input-widget:visible input').first();
    await input.waitFor();
    await input.fill(`:${line}`);
    await this.press('Enter');
    await this.page.locator('.quick-input-widget').first().waitFor({ state: 'hidden' });
    await this.press('End');
  }

  /** Asks the probe, which runs beside the extension. */
  async ask(question, parameters = {}) {
    const port = readFileSync(this.probePort, 'utf8');
    const response = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: JSON.stringify({ question, ...parameters }), signal: AbortSignal.timeout(20_000) });
    const { answer, error } = await response.json();
    if (error) {
      throw new Error(`${question}: ${error}`);
    }
    return answer;
  }

  async document() {
    return this.ask('document');
  }

  /** Puts a text into the active editor, with the cursor where `‸` stands. */
  async place(text) {
    const at = text.indexOf('‸');
    const before = text.slice(0, at).split('\n');
    await this.ask('command', { id: 'workbench.action.focusActiveEditorGroup' }); // a click on the status bar takes the focus
    await this.ask('replace', { text: text.replace('‸', ''), line: before.length - 1, character: before.at(-1).length });
    const position = `Ln ${before.length}, Col ${before.at(-1).length + 1}`;
    await until(`the cursor at ${position}`, async () => (await this.page.locator('.statusbar-item[id="status.editor.selection"]').textContent()).includes(position), 10);
    await this.waitForNoGhost();
  }

  async text() {
    return (await this.document()).text;
  }

  /** The server's own account, by its command. */
  async status() {
    return this.ask('command', { id: 'cosec-ls.status' });
  }

  // --- ghost text

  /** What is grey on the screen, lines joined by line breaks. */
  async ghost() {
    return this.page.evaluate(() => {
      const inline = [...document.querySelectorAll('.ghost-text-decoration, .ghost-text-decoration-preview')].map((span) => span.textContent).join('');
      const below = [...document.querySelectorAll('.suggest-preview-text .view-line, .suggest-preview-additional-widget .view-line')].map((line) => line.textContent);
      return [inline, ...below].join('\n').replaceAll('\u00a0', ' ').replace(/\n+$/, '');
    });
  }

  async waitForGhost(seconds = 60, holds = (text) => text !== '') {
    return until('ghost text', async () => {
      const text = await this.ghost();
      return holds(text) && text;
    }, seconds, 20);
  }

  async waitForNoGhost(seconds = 10) {
    await until('ghost text to go', async () => (await this.ghost()) === '', seconds, 20);
  }

  /** Counts frames of the page with and without ghost text, until `counted` is called. */
  async startCounting() {
    await this.page.evaluate(() => {
      const seen = { frames: 0, without: 0, changes: [], started: performance.now(), running: true };
      window.cosecFrames = seen;
      let last;
      const look = () => {
        if (!seen.running) {
          return;
        }
        seen.frames += 1;
        const ghosts = [...document.querySelectorAll('.ghost-text-decoration, .ghost-text-decoration-preview, .suggest-preview-text .view-line')];
        const text = ghosts.map((each) => each.textContent).join('\n');
        if (text === '') {
          seen.without += 1;
        }
        if (text !== last) {
          seen.changes.push([Math.round(performance.now() - seen.started), text]);
          last = text;
        }
        requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
  }

  async counted() {
    return this.page.evaluate(() => {
      window.cosecFrames.running = false;
      return window.cosecFrames;
    });
  }

  // --- the rest of the window

  statusItem() {
    return this.page.locator('.statusbar-item[id="cosec-ls.cosec-ls.cosec.status"], .statusbar-item[id*="cosec.status"]').first();
  }

  async statusText() {
    return (await this.statusItem().textContent().catch(() => '')) ?? '';
  }

  async statusLabel() {
    return (await this.statusItem().locator('[aria-label]').first().getAttribute('aria-label').catch(() => '')) ?? '';
  }

  async notifications() {
    return this.page.evaluate(() => [...document.querySelectorAll('.notification-list-item-message')].map((each) => each.textContent));
  }

  async openMenu() {
    await this.statusItem().click();
    await this.page.mouse.move(300, 300); // else its tooltip comes, and covers what is clicked next
    await this.page.locator('.quick-input-widget:visible .quick-input-title', { hasText: 'CoSec' }).waitFor({ timeout: 60_000 });
    await this.page.locator('.quick-input-list .monaco-list-row').first().waitFor();
    return this.page.evaluate(() => [...document.querySelectorAll('.quick-input-list .monaco-list-row')].map((row) => row.getAttribute('aria-label')));
  }

  async choose(text) {
    const input = this.page.locator('.quick-input-widget:visible input').first();
    await input.fill(text);
    await this.page.locator('.quick-input-list .monaco-list-row', { hasText: text }).first().waitFor({ timeout: 60_000 });
    await this.press('Enter');
  }

  /** The frame of a webview that holds the element. */
  async webview(selector) {
    return until(`a view with ${selector}`, async () => {
      for (const frame of this.page.frames()) {
        if (await frame.$(selector).catch(() => null)) {
          return frame;
        }
      }
      return undefined;
    }, 30);
  }
}
