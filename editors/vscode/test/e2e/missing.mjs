// A machine without models, and a model hub of our own: asked once with the size, fetched with progress, cancelled, and
// without a network one sentence. The hub serves the models that this machine has.
import assert from 'node:assert/strict';
import { createReadStream, mkdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import { QUERY } from './fixtures.mjs';
import { until } from './workbench.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** `hub.state` is "down", "slow" or "fast". */
function startHub() {
  const models = path.join(process.env.XDG_CACHE_HOME ?? path.join(process.env.HOME, '.cache'), 'cosec-ls', 'models');
  const hub = { state: 'down' };
  hub.server = createServer((request, response) => {
    if (hub.state === 'down') {
      request.socket.destroy();
      return;
    }
    const file = path.join(models, path.basename(new URL(request.url, 'http://hub').pathname));
    const size = statSync(file).size;
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    response.writeHead(from > 0 ? 206 : 200, { 'Content-Length': size - from, 'Accept-Ranges': 'bytes', ...(from > 0 ? { 'Content-Range': `bytes ${from}-${size - 1}/${size}` } : {}) });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const stream = createReadStream(file, { start: from, highWaterMark: 1 << 20 });
    response.on('close', () => stream.destroy());
    stream.on('data', (data) => {
      const more = response.write(data);
      stream.pause();
      const go = () => (hub.state === 'slow' ? setTimeout(() => stream.resume(), 250) : stream.resume());
      if (more) {
        go();
      } else {
        response.once('drain', go);
      }
    });
    stream.on('end', () => response.end());
  });
  return new Promise((resolve) => hub.server.listen(0, '127.0.0.1', () => resolve(hub)));
}

async function download(w) {
  const labels = await w.openMenu();
  const again = labels.some((label) => /get the models again/.test(label));
  await w.choose(again ? 'get the models again' : 'Download the models');
}

const modelState = async (w) => (await w.status().catch(() => undefined))?.models;

export async function MISSING({ check, newWorkbench, folder, work }) {
  const hub = await startHub();
  const cache = path.join(work, 'empty-cache');
  mkdirSync(cache);
  const nowhere = 'http://127.0.0.1:9/';
  const env = { XDG_CACHE_HOME: cache, HF_ENDPOINT: `http://127.0.0.1:${hub.server.address().port}`, PIP_INDEX_URL: nowhere, PIP_RETRIES: '0', PIP_TIMEOUT: '1', PIP_CONFIG_FILE: '/dev/null', NO_PROXY: '127.0.0.1' };
  const w = newWorkbench('missing', { settings: { 'cosec-ls.profile': 'small' }, env });
  try {
    await w.start();
    await w.open(folder);
    await check(w, 'models that are missing are asked for once, with the size', async () => {
      await until('the question', async () => (await w.notifications()).length > 0, 30);
      const [question, ...others] = await w.notifications();
      assert.deepEqual(others, []);
      assert.match(question, /download .*“small” now \(491 MB\)\?/);
      assert.match(await w.statusLabel(), /not here yet \(491 MB to download\)/);
      await w.page.locator('.notification-list-item .monaco-button', { hasText: 'Not now' }).click();
      await until('the answer', async () => (await w.notifications()).length === 0, 10);
      assert.equal((await modelState(w)).state, 'missing');
      await pause(1000); // VS Code writes down what it is to remember
      await w.open(folder);
      await until('the state', async () => /not here yet/.test(await w.statusLabel()), 30);
      await pause(2000);
      assert.deepEqual(await w.notifications(), [], 'it asked again');
      return question;
    });
    await check(w, 'without a network one sentence says so', async () => {
      await download(w);
      await until('a message', async () => (await w.notifications()).some((text) => /could not be downloaded/.test(text)), 60);
      await pause(1500);
      const said = (await w.notifications()).filter((text) => !/^Downloading/.test(text));
      assert.equal(said.length, 1, said.join(' | '));
      assert.match(await w.statusLabel(), /cannot be used|not here yet/);
      await w.ask('command', { id: 'notifications.clearAll' });
      return said[0];
    });
    await check(w, 'a download shows its progress, and is cancelled by its button', async () => {
      hub.state = 'slow';
      await download(w);
      await until('the download', async () => (await modelState(w))?.state === 'fetching', 30);
      await until('the share in the status bar', async () => /\d+ %/.test(await w.statusText()), 30);
      const text = await w.statusText();
      await w.page.locator('.notification-list-item').first().waitFor();
      await w.page.locator('.notification-list-item .monaco-button', { hasText: 'Cancel' }).click();
      await until('the end of it', async () => (await modelState(w))?.state === 'missing', 20);
      await until('the status bar', async () => /not here yet/.test(await w.statusLabel()), 10);
      await until('the progress to go', async () => (await w.notifications()).length === 0, 10);
      return text.trim();
    });
    await check(w, 'after the download ghost text comes', async () => {
      hub.state = 'fast';
      await download(w);
      await until('the models', async () => (await modelState(w))?.state === 'ready', 120);
      await w.openFile('find_user.py');
      await w.place(QUERY);
      await w.type('(');
      return JSON.stringify(await w.waitForGhost());
    });
  } finally {
    await w.stop();
    hub.server.close();
    hub.server.closeAllConnections();
  }
}
