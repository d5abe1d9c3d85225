// Takes the pictures of the guides, small and cropped. Look at each of them before it is committed.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { until } from './workbench.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function takePictures(w, folder) {
  mkdirSync(folder, { recursive: true });
  const shoot = (name, clip) => w.page.screenshot({ path: path.join(folder, name), clip, animations: 'disabled', caret: 'initial' });
  const idle = async () => {
    await until('the server to be idle', async () => (await w.status()).busy === false, 60);
    await pause(300);
  };
  await w.page.setViewportSize({ width: 960, height: 680 });
  await w.ask('command', { id: 'workbench.action.closeSidebar' });
  await w.ask('configure', { name: 'workbench.activityBar.location', value: 'hidden' });
  await w.ask('configure', { name: 'breadcrumbs.enabled', value: false });

  await w.place(SEARCH);
  await w.type(' ');
  await w.waitForGhost(60, (text) => text.includes('\n'));
  await idle();
  await w.page.mouse.move(900, 300);
  await shoot('ghost-text.png', { x: 0, y: 35, width: 720, height: 265 });
  await w.openMenu();
  await w.page.mouse.move(900, 500);
  await pause(300);
  await shoot('menu.png', { x: 170, y: 0, width: 620, height: 322 });
  await w.press('Escape');
  await pause(300);
  const bar = await w.statusItem().boundingBox();
  await shoot('status.png', { x: Math.max(0, bar.x - 330), y: bar.y, width: Math.min(bar.width + 330, 960), height: bar.height });

  await w.page.setViewportSize({ width: 820, height: 640 });
  await w.command('CoSec: Explain the Last Suggestion');
  await w.webview('.code .token');
  await w.ask('command', { id: 'workbench.action.toggleMaximizeEditorGroup' });
  for (const [name, theme] of [['dark', 'Default Dark Modern'], ['light', 'Default Light Modern'], ['high-contrast', 'Default High Contrast']]) {
    await w.ask('configure', { name: 'workbench.colorTheme', value: theme });
    const frame = await w.webview('.code .token');
    await pause(1200);
    await frame.evaluate(() => (document.querySelectorAll('.code .token.intervened')[1] ?? document.querySelector('.code .token')).focus());
    const height = await frame.evaluate(() => document.querySelector('main').getBoundingClientRect().bottom);
    const box = await w.page.locator('iframe.webview').first().boundingBox();
    await shoot(`explain-${name}.png`, { x: box.x, y: box.y, width: box.width, height: Math.min(height + 14, box.height) });
  }
  await w.ask('configure', { name: 'workbench.colorTheme', value: 'Default Dark Modern' });
  await w.ask('command', { id: 'workbench.action.closeActiveEditor' });
  await w.page.setViewportSize({ width: 1000, height: 720 });
  await w.ask('command', { id: 'cosec.walkthrough' });
  await w.page.locator('.gettingStartedContainer .step-title, .gettingStartedContainer h3').first().waitFor();
  await pause(1500);
  await shoot('walkthrough.png', { x: 0, y: 35, width: 1000, height: 660 });
  await w.ask('command', { id: 'workbench.action.closeActiveEditor' });
  await w.page.setViewportSize({ width: 1100, height: 700 });
  await w.ask('configure', { name: 'workbench.activityBar.location', value: null });
  await w.ask('command', { id: 'workbench.view.explorer' });
}

// Where the small model is known to step in.
const SEARCH = `"""Search in the shop."""

import sqlite3


def search(db: sqlite3.Connection, word: str):
    """Return all articles whose title has \`word\` in it."""
    cursor = db.cursor()
    query =‸
`;
