// What the status bar and its tooltip say in each state.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Models, Status } from '../src/protocol';
import { languageEnabled, withLanguage, forServer } from '../src/section';
import { bytes, hardening, percent, statusText } from '../src/statusText';

const READY: Models = { state: 'ready', base: 'big', security: 'small', adapter: 'sven' };

function status(changes: Partial<Status>): Status {
  return { version: '0.1.0', enabled: true, profile: 'default', mode: 'cosec', hardened: true, models: READY, ...changes };
}

function text(changes: Partial<Status>, paused = false): string {
  return statusText({ kind: 'running', status: status(changes) }, paused).text;
}

test('ready shows the profile, the speed and whether it is hardened', () => {
  assert.equal(text({ tokensPerSecond: 23.4 }), '$(shield) default 23/s');
  assert.equal(text({ tokensPerSecond: 8.15 }), '$(shield) default 8.2/s');
  assert.equal(text({ hardened: false }), '$(unlock) default');
  assert.equal(text({ mode: 'off' }), '$(unlock) default');
  assert.equal(text({ busy: true }), '$(loading~spin) default');
});

test('every other state has a text of its own', () => {
  assert.match(text({ models: { state: 'loading' } }), /loading/);
  assert.match(text({ models: { state: 'fetching', model: 'm', doneBytes: 37, totalBytes: 100 } }), /37 %/);
  assert.match(text({ models: { state: 'failed', reason: 'r' } }), /error/);
  assert.match(text({ models: { state: 'missing', profile: 'default', models: [], downloadBytes: 1.6e9 } }), /cloud-download/);
  assert.match(text({}, true), /debug-pause/);
  assert.match(text({ enabled: false }), /debug-pause/);
  assert.match(statusText({ kind: 'starting', again: false }, false).text, /loading/);
  assert.match(statusText({ kind: 'stopped' }, false).text, /circle-slash/);
  assert.match(statusText({ kind: 'problem', problem: { sentence: 'S.', remedies: ['install'] } }, false).text, /error/);
});

test('what is missing or failed says so in words, pause or not', () => {
  const missing = statusText({ kind: 'running', status: status({ models: { state: 'missing', profile: 'small', models: [], downloadBytes: 491_400_064 } }) }, true);
  assert.match(missing.summary, /“small”.*491 MB/);
  const failed = statusText({ kind: 'running', status: status({ models: { state: 'failed', reason: 'no network' } }) }, true);
  assert.match(failed.summary, /no network/);
  const long = statusText({ kind: 'running', status: status({ models: { state: 'failed', reason: 'could not get it:\n  hub: no\n  pip: no' } }) }, false);
  assert.equal(long.summary, 'The models cannot be used: could not get it');
  assert.equal(failed.severity, 'error');
});

test('hardening is said in words', () => {
  assert.match(hardening(status({})), /^Hardened/);
  assert.match(hardening(status({ hardened: false })), /^Not hardened/);
  assert.match(hardening(status({ mode: 'off' })), /^Not hardened/);
});

test('sizes and shares are short', () => {
  assert.equal(bytes(1_615_000_000), '1.6 GB');
  assert.equal(bytes(491_400_064), '491 MB');
  assert.equal(percent(0, 0), '0 %');
  assert.equal(percent(999, 1000), '99 %');
});

test('a language is turned over and back without leaving a trace', () => {
  assert.deepEqual(withLanguage({ '*': true }, 'python', false), { '*': true, python: false });
  assert.deepEqual(withLanguage({ '*': true, python: false }, 'python', true), { '*': true });
  assert.deepEqual(withLanguage({ '*': false }, 'python', true), { '*': false, python: true });
  assert.equal(languageEnabled({ '*': false }, 'rust'), false);
  assert.equal(languageEnabled({}, 'rust'), true);
});

test("the server gets its own settings alone, and never fetches unasked where it was to ask", () => {
  assert.deepEqual(forServer({ enabled: true, server: { path: '/x' }, trace: { server: 'off' }, download: 'ask' }), { enabled: true, download: 'never' });
  assert.deepEqual(forServer({ download: 'always' }), { download: 'always' });
  assert.deepEqual(forServer(undefined), {});
});
