// package.json beside docs/PROTOCOL.md: every setting with its type, default and range.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
// @ts-expect-error a script without types
import { RESTRICTED, property, rows, text, updated } from '../../scripts/settings.mjs';

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
  version: string;
  icon: string;
  contributes: { commands: { command: string }[]; keybindings: { command: string; when: string }[]; configuration: { properties: Record<string, Record<string, unknown>> }; walkthroughs: { steps: { description: string; media: Record<string, string> }[] }[] };
};
const protocol = readFileSync('../../docs/PROTOCOL.md', 'utf8');

interface Row {
  name: string;
  type: string;
  fallback: string;
  meaning: string;
}

test('the settings are those of docs/PROTOCOL.md', () => {
  assert.equal(readFileSync('package.json', 'utf8'), (text as (manifest: unknown) => string)((updated as (manifest: unknown, protocol: string) => unknown)(manifest, protocol)));
  const table = (rows as (markdown: string) => Row[])(protocol);
  assert.ok(table.length >= 27, `only ${String(table.length)} rows were understood`);
  const counted = protocol.split(/^## Settings$/m)[1]?.split(/^### /m)[0]?.match(/^\| `/gm)?.length;
  assert.equal(table.length, counted, 'a row of the table was not understood');
});

test('a changed range, choice or default of the table would be noticed', () => {
  const make = property as (row: Row, order: number) => Record<string, unknown>;
  const row = { name: 'x', type: 'integer from 1 to 9', fallback: '`3`', meaning: 'M.' };
  assert.deepEqual(make(row, 0), { type: 'integer', minimum: 1, maximum: 9, default: 3, markdownDescription: 'M.', order: 0 });
  assert.deepEqual(make({ ...row, type: '`"a"`, `"b"`', fallback: '`"a"`' }, 0)['enum'], ['a', 'b']);
  assert.deepEqual(make({ ...row, type: 'number from 0 to 1', fallback: "the profile's" }, 0)['type'], ['number', 'null']);
  assert.throws(() => make({ ...row, type: 'something new' }, 0));
});

test('what an untrusted workspace may not set exists', () => {
  for (const name of RESTRICTED as string[]) {
    if (name !== 'download') {
      assert.ok(`cosec-ls.${name}` in manifest.contributes.configuration.properties, name);
    }
  }
});

test('commands do not clash with those that the client registers for the server', () => {
  for (const { command } of manifest.contributes.commands) {
    assert.match(command, /^cosec\./);
  }
});

test('keys of the built-in suggestions are taken only where VS Code has none of its own', () => {
  for (const { when } of manifest.contributes.keybindings) {
    assert.match(when, /^cosec\.\w+ && inlineSuggestionVisible/);
  }
});

test('files that the manifest names are there, and the versions agree', () => {
  const media = manifest.contributes.walkthroughs.flatMap((each) => each.steps).map((step) => step.media['image'] ?? step.media['markdown'] ?? '');
  for (const file of [manifest.icon, ...media]) {
    assert.ok(existsSync(file), file);
  }
  const server = /^version = "(.*)"$/m.exec(readFileSync('../../Cargo.toml', 'utf8'))?.[1];
  assert.equal(manifest.version, server);
  assert.match(readFileSync('CHANGELOG.md', 'utf8'), new RegExp(`^## ${manifest.version.replaceAll('.', '\\.')}$`, 'm'));
});
