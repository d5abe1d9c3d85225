// The sentences for what can be wrong with the server.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Crashes, SERIES_MS } from '../src/restart';
import { PROTOCOL_VERSION, cannotRun, crashed, crashesTooOften, endedAtStart, notLocated, otherVersion } from '../src/sentences';
import type { Problem } from '../src/sentences';

function isOneSentenceWithARemedy(problem: Problem): void {
  assert.match(problem.sentence, /\S\.$/);
  assert.doesNotMatch(problem.sentence, /\n|undefined|null|\[object/);
  assert.ok(problem.remedies.length > 0);
}

test('every problem is a sentence with a remedy', () => {
  isOneSentenceWithARemedy(notLocated({ problem: 'setting', file: '/x' }));
  isOneSentenceWithARemedy(notLocated({ problem: 'not executable', file: '/x' }));
  isOneSentenceWithARemedy(notLocated({ problem: 'missing' }));
  isOneSentenceWithARemedy(endedAtStart('/x', { code: 1, signal: null, lastLine: 'error: no.' }));
  isOneSentenceWithARemedy(endedAtStart('/x', { code: null, signal: null }));
  isOneSentenceWithARemedy(cannotRun('/x', 'spawn ENOEXEC\nmore'));
  isOneSentenceWithARemedy(crashesTooOften({ code: null, signal: 'SIGSEGV' }, 4));
});

test('the version that is known is no problem, every other is, and says what to update', () => {
  assert.equal(otherVersion('/x', '0.1.0', PROTOCOL_VERSION), undefined);
  for (const [spoken, update] of [[1, 'update cosec-ls'], [PROTOCOL_VERSION + 1, 'update the extension'], [undefined, 'update cosec-ls'], ['2', 'update cosec-ls']] as const) {
    const problem = otherVersion('/x', '0.1.0', spoken);
    assert.ok(problem);
    isOneSentenceWithARemedy(problem);
    assert.ok(problem.sentence.includes(update), problem.sentence);
  }
});

test('long or many lines of standard error are shortened', () => {
  const { sentence } = endedAtStart('/x', { code: 101, signal: null, lastLine: 'x'.repeat(1000) });
  assert.ok(sentence.length < 260, sentence);
  assert.match(crashed({ code: null, signal: 'SIGKILL' }), /SIGKILL/);
});

test('three crashes are survived, the first is said, the fourth within minutes is final', () => {
  const crashes = new Crashes();
  assert.deepEqual(crashes.next(0), { first: true, times: 1, delayMs: 200 });
  assert.deepEqual(crashes.next(1000), { first: false, times: 2, delayMs: 1000 });
  assert.deepEqual(crashes.next(2000), { first: false, times: 3, delayMs: 4000 });
  assert.deepEqual(crashes.next(3000), { first: false, times: 4 });
});

test('a crash long after the last is a new series', () => {
  const crashes = new Crashes();
  crashes.next(0);
  assert.deepEqual(crashes.next(SERIES_MS + 1), { first: true, times: 1, delayMs: 200 });
  crashes.forget();
  assert.equal(crashes.next(SERIES_MS + 2).first, true);
});
