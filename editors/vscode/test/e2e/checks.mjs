// What must hold in VS Code, each with the real server and real models; in this order, for they share one window.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { BODY, QUERY } from './fixtures.mjs';
import { until } from './workbench.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Line `index` of the document, 0-based. */
async function line(w, index) {
  return (await w.text()).split('\n')[index];
}

const QUERY_LINE = QUERY.slice(0, QUERY.indexOf('‸')).split('\n').length - 1;

/** Ghost text after `cursor.execute(`, complete: the server is no longer at work. */
async function query(w) {
  await w.place(QUERY);
  await w.type('(');
  await w.waitForGhost();
  await idle(w);
  return w.ghost();
}

/**
 * The server has said all, and it is shown. Between the first lines and the question for the rest it is not busy either, so
 * it must stay so, with the same text on the screen, for longer than that takes.
 */
async function idle(w) {
  let quiet = { since: Date.now(), text: undefined };
  await until(
    'the server to be idle',
    async () => {
      const [{ busy }, text] = [await w.status(), await w.ghost()];
      if (busy || text !== quiet.text) {
        quiet = { since: Date.now(), text };
      }
      return Date.now() - quiet.since >= 500;
    },
    60,
  );
}

async function requests(w) {
  return (await w.status()).totals.requests;
}

/** Process ids of servers that run from this installation. */
export function serverPids(w) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(w.extensions);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function closeMenu(w) {
  await w.press('Escape');
  await w.page.locator('.quick-input-widget').first().waitFor({ state: 'hidden' });
}

/** With draws that differ, for a small model is sure of most lines; and as it was afterwards, whatever happens. */
function withSettings(settings, run) {
  return async (w) => {
    const configure = (value) => Promise.all(Object.keys(settings).map((name) => w.ask('configure', { name, value: value(name) })));
    await configure((name) => settings[name]);
    try {
      await idle(w);
      return await run(w);
    } finally {
      await configure(() => null);
    }
  };
}

export const CHECKS = [
  [
    'ghost text comes as one types, Tab takes all of it, one undo gives it back',
    async (w) => {
      await query(w);
      await w.press('Tab');
      const accepted = await until('the accepted text', async () => (await line(w, QUERY_LINE)).length > '    cursor.execute()'.length && line(w, QUERY_LINE));
      await w.waitForNoGhost();
      assert.equal((await w.status()).suggestions.accepted > 0, true, 'the server was not told');
      await w.press('Control+z');
      await until('one undo to take it back', async () => /^ {4}cursor\.execute\(\)?$/.test(await line(w, QUERY_LINE)), 5);
      return accepted.trim();
    },
  ],
  [
    'text streams: the first whole line is shown while the rest is written, and nothing flickers',
    async (w) => {
      await w.openFile('settings.py');
      await w.place(BODY);
      await w.startCounting();
      await w.press('Enter');
      const first = await w.waitForGhost();
      const busy = (await w.status()).busy;
      await idle(w);
      const { changes, frames } = await w.counted();
      const shown = changes.filter(([, text]) => text !== '');
      const last = await w.ghost();
      assert.equal(changes.at(-1)[1] !== '', true, 'it went away');
      assert.equal(changes.slice(changes.findIndex(([, text]) => text !== '')).every(([, text]) => text !== ''), true, 'it flickered');
      assert.equal(busy, true, 'the first line came only when all was there');
      assert.ok(shown.length >= 2 && last.length > first.length, `it did not grow: ${JSON.stringify(shown)}`);
      assert.ok(last.startsWith(first), 'what was shown first has changed');
      return `first line after ${shown[0][0]} ms, all ${last.split('\n').length} lines after ${shown.at(-1)[0]} ms, ${frames} frames`;
    },
  ],
  [
    'a line is taken, and the remainder stays without asking the models again',
    async (w) => {
      await w.openFile('settings.py');
      await w.place(BODY);
      await w.press('Enter');
      await w.waitForGhost();
      await idle(w);
      const [firstLine, ...rest] = (await w.ghost()).split('\n');
      assert.ok(rest.length > 0, 'there is no second line to keep');
      const before = await requests(w);
      await w.startCounting();
      await w.ask('command', { id: 'editor.action.inlineSuggest.acceptNextLine' });
      await until('the line in the document', async () => (await w.text()).includes(firstLine.trim()), 5);
      await pause(600);
      const { without, frames } = await w.counted();
      const remainder = await w.ghost();
      assert.equal(remainder.trim().split('\n')[0].trim(), rest[0].trim());
      assert.equal(await requests(w), before, 'the models were asked');
      assert.equal(without, 0, `${without} of ${frames} frames without ghost text`);
    },
  ],
  [
    'Escape hides it, while it is written as well, and it stays hidden',
    async (w) => {
      await w.place(BODY);
      await w.press('Enter');
      await w.waitForGhost();
      await w.press('Escape');
      await w.waitForNoGhost();
      await idle(w);
      await pause(500);
      assert.equal(await w.ghost(), '');
      // A text that is not remembered, so that it is still being written when it is dismissed.
      await w.place(BODY.replace('every value', 'each of its values'));
      await w.press('Enter');
      await w.waitForGhost();
      const busy = (await w.status()).busy;
      await w.press('Escape');
      await w.waitForNoGhost();
      await idle(w);
      await pause(500);
      assert.equal(await w.ghost(), '');
      return busy ? 'dismissed while it was written' : 'it was complete already';
    },
  ],
  [
    'Ctrl+Right takes a word, and the remainder stays without asking the models again',
    async (w) => {
      await w.openFile('find_user.py');
      const ghost = await query(w);
      const before = await requests(w);
      await w.startCounting();
      await w.press('Control+ArrowRight');
      await until('the word in the document', async () => (await w.document()).character > '    cursor.execute('.length, 5);
      await pause(500);
      const { without, frames } = await w.counted();
      const remainder = await w.ghost();
      assert.ok(remainder.length > 0 && remainder.length < ghost.length, JSON.stringify([ghost, remainder]));
      assert.equal(await requests(w), before, 'the models were asked');
      assert.equal(without, 0, `${without} of ${frames} frames without ghost text`);
    },
  ],
  [
    'typing what is suggested never flickers and asks the models nothing',
    async (w) => {
      const ghost = (await query(w)).split('\n')[0];
      const before = (await w.status()).totals;
      await w.startCounting();
      const typed = ghost.slice(0, Math.max(10, Math.floor(ghost.length / 2)));
      await w.type(typed, 70);
      await pause(400);
      const { without, frames } = await w.counted();
      const after = (await w.status()).totals;
      assert.equal(without, 0, `${without} of ${frames} frames without ghost text`);
      assert.equal(after.requests, before.requests, 'the models were asked');
      assert.equal(after.decodedTokens, before.decodedTokens, 'something was decoded');
      return `${typed.length} keys, ${frames} frames, ${without} without ghost text, no request`;
    },
  ],
  [
    'another suggestion is shown by Alt+], and the first one again by Alt+[',
    withSettings({ 'cosec-ls.temperature': 1.2 }, async (w) => {
      await w.openFile('find_user.py');
      const first = await query(w);
      const before = await requests(w);
      await w.press('Alt+BracketRight');
      const second = await w.waitForGhost(90, (text) => text !== '' && text !== first);
      const asked = (await requests(w)) - before;
      await w.press('Alt+BracketLeft');
      await w.waitForGhost(90, (text) => text === first);
      return `${asked} request of the models; ${JSON.stringify([first, second])}`;
    }),
  ],
  [
    'where the first one came in two steps, too, and back again',
    withSettings({ 'cosec-ls.temperature': 1.2 }, async (w) => {
      await w.openFile('settings.py');
      await w.place(BODY.replace('check every value', 'complain of unknown names'));
      await w.press('Enter');
      await w.waitForGhost();
      await idle(w);
      const first = await w.ghost();
      assert.ok(first.includes('\n'), 'it has one line only');
      await w.startCounting();
      await w.press('Alt+BracketRight');
      const second = await w.waitForGhost(90, (text) => text !== '' && text !== first);
      const { without, frames } = await w.counted();
      await w.press('Alt+BracketLeft');
      await w.waitForGhost(10, (text) => text === first);
      assert.ok(without <= 6, `${without} of ${frames} frames without ghost text`);
      return `${without} of ${frames} frames without ghost text`;
    }),
  ],
  [
    'a suggestion that is asked for by hand comes, and its other candidates',
    withSettings({ 'cosec-ls.temperature': 1.2, 'cosec-ls.automatic': false }, async (w) => {
      await w.place(BODY.replace('check every value', 'say which are not known'));
      await w.press('Enter');
      await pause(1000);
      assert.equal(await w.ghost(), '', 'it came by itself');
      await w.ask('command', { id: 'editor.action.inlineSuggest.trigger' });
      await w.waitForGhost();
      await idle(w);
      await pause(500);
      const first = await w.ghost();
      await w.press('Alt+BracketRight');
      await w.waitForGhost(90, (text) => text !== '' && text !== first);
      await idle(w);
    }),
  ],
  [
    'the menu says the state, and pauses everything, a language and a file',
    async (w) => {
      await w.openFile('find_user.py');
      const labels = await w.openMenu();
      for (const wanted of [/Pause all/, /Pause for python/, /for this file/, /Mode/, /Profile/, /Why was there nothing/, /Explain/, /Restart/, /output/, /Settings/]) {
        assert.ok(labels.some((label) => wanted.test(label)), `no entry ${wanted} in ${labels}`);
      }
      await w.choose('Pause all suggestions');
      await until('the pause', async () => (await w.status()).enabled === false, 10);
      await until('the pause in the status bar', async () => /paused/i.test(await w.statusLabel()), 10);
      await w.place(QUERY);
      await w.type('(');
      await pause(1000);
      assert.equal(await w.ghost(), '');
      await w.openMenu();
      await w.choose('Resume suggestions');
      await until('the end of the pause', async () => (await w.status()).enabled === true, 10);
      await w.openMenu();
      await w.choose('Pause for python');
      await until('the setting', async () => (await w.ask('configured', { name: 'cosec-ls.languages' })).python === false, 10);
      await until('the pause of the language in the status bar', async () => /paused/i.test(await w.statusLabel()), 10);
      await w.openMenu();
      await w.choose('Resume for python');
      await until('the setting', async () => (await w.ask('configured', { name: 'cosec-ls.languages' })).python !== false, 10);
      await w.openMenu();
      await w.choose('Pause for this file');
      const uri = (await w.document()).uri;
      const completed = async () => (await w.ask('command', { id: 'cosec-ls.status', args: [{ textDocument: { uri } }] })).document?.completed;
      await until('the pause of the file', async () => (await completed()) === false, 10);
      await w.openMenu();
      await w.choose('for this file');
      await until('the file again', async () => (await completed()) === true, 10);
      await query(w);
    },
  ],
  [
    'mode and profile are chosen in the menu',
    async (w) => {
      await w.openMenu();
      await w.choose('Mode');
      await w.page.locator('.quick-input-widget:visible .quick-input-title', { hasText: 'mode' }).waitFor();
      await w.choose('off');
      await until('the mode', async () => (await w.status()).mode === 'off', 10);
      await until('the open lock', async () => (await w.statusItem().locator('.codicon-unlock').count()) > 0, 10);
      await w.ask('configure', { name: 'cosec-ls.mode', value: null });
      await until('the profile’s mode', async () => (await w.status()).mode === 'cosec', 10);
      await w.openMenu();
      await w.choose('Profile');
      await w.page.locator('.quick-input-widget:visible .quick-input-title', { hasText: 'profile' }).waitFor();
      await w.choose('small');
      await until('the profile', async () => (await w.status()).profile === 'small', 10);
    },
  ],
  [
    'Explain shows whose every token is, and is walked by keys',
    async (w) => {
      await query(w);
      await w.command('CoSec: Explain the Last Suggestion');
      const frame = await w.webview('.code .token');
      const tokens = await frame.$$eval('.code .token', (all) => all.map((each) => ({ text: each.textContent, kind: each.className, role: each.getAttribute('role'), label: each.getAttribute('aria-label') })));
      assert.ok(tokens.length >= 3, JSON.stringify(tokens));
      for (const token of tokens) {
        assert.match(token.kind, /^token (security|base|intervened)$/);
        assert.equal(token.role, 'option');
        assert.ok(token.label);
      }
      const detail = () => frame.$eval('.detail:not([hidden])', (each) => [each.dataset.token, each.textContent]);
      await until('the focus in the page', () => frame.evaluate(() => document.activeElement?.classList.contains('token')), 10);
      await w.press('Home');
      const [before] = await detail();
      await w.press('ArrowRight');
      const [after, text] = await detail();
      assert.equal(Number(after), Number(before) + 1);
      assert.match(text, /p, by the base.*q, by the security model.*min\(1, p \/ q\).*α = /s);
      await w.ask('command', { id: 'workbench.action.closeActiveEditor' });
      return `${tokens.length} tokens`;
    },
  ],
  [
    'a file that is excluded gets nothing, and the menu says why',
    async (w) => {
      await w.openFile('.env', 1);
      await w.type('sk');
      await pause(800);
      assert.equal(await w.ghost(), '');
      const labels = await w.openMenu();
      const why = labels.find((label) => /Why was there nothing/.test(label));
      await closeMenu(w);
      assert.match(why, /secret|excluded/i);
      await w.ask('command', { id: 'workbench.action.files.revert' });
      return why;
    },
  ],
  [
    'a server that is killed while it decodes is started again, said once, and completes again',
    async (w) => {
      await w.openFile('settings.py');
      await w.place(BODY.replace('check every value', 'refuse what is wrong'));
      await w.press('Enter');
      await until('the server at work', async () => (await w.status()).busy, 20, 10);
      const [pid] = serverPids(w);
      process.kill(pid, 'SIGKILL');
      await until('another server', () => serverPids(w).length === 1 && serverPids(w)[0] !== pid, 20);
      await until('a message', async () => (await w.notifications()).length > 0, 20);
      await until('the models', async () => (await w.status().catch(() => undefined))?.models.state === 'ready', 30);
      await w.openFile('find_user.py');
      await query(w);
      const said = await w.notifications();
      assert.equal(said.length, 1, said.join('; '));
      assert.match(said[0], /SIGKILL/);
      // Once more: the same series, so nothing more is said.
      const [second] = serverPids(w);
      process.kill(second, 'SIGKILL');
      await until('a third server', () => serverPids(w).length === 1 && serverPids(w)[0] !== second, 20);
      await until('the models', async () => (await w.status().catch(() => undefined))?.models.state === 'ready', 30);
      await query(w);
      assert.deepEqual(await w.notifications(), said);
      await w.ask('command', { id: 'notifications.clearAll' });
      return said[0];
    },
  ],
];
