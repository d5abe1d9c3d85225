// The page that explains a suggestion: its tokens, its numbers, and that text is never markup.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { escapeHtml, explainHtml, kindOf, visible } from '../src/explainHtml';
import type { ExplainedToken, Explanation } from '../src/protocol';

const RESOURCES = { cspSource: 'https://csp', style: 'https://csp/s.css', script: 'https://csp/s.js' };

function token(changes: Partial<ExplainedToken>): ExplainedToken {
  return { token: 1, text: 'x', role: 'security', p: 0.4, q: 0.6, ratio: 0.66, rejected: null, baseChoice: null, intervened: false, ...changes };
}

function page(tokens: ExplainedToken[], changes: Partial<Explanation> = {}): string {
  return explainHtml({ id: 7, text: '', interventions: tokens.filter((each) => each.intervened).length, tokens, alpha: 0.3, ...changes }, RESOURCES);
}

test('text of the user or a model is never markup', () => {
  const evil = `<img src=x onerror="alert('1')">&amp;`;
  const html = page([token({ text: evil, baseChoice: evil, rejected: evil, intervened: true })], { base: evil, security: evil, adapter: evil, mode: evil, uri: `file:///${evil}` });
  assert.doesNotMatch(html, /<img/);
  assert.doesNotMatch(html, /onerror="/);
  assert.equal(escapeHtml(`<>&"'`), '&lt;&gt;&amp;&quot;&#39;');
});

test('nothing loads but the own style and script', () => {
  const html = page([token({})]);
  assert.match(html, /content="default-src 'none'; style-src https:\/\/csp; script-src https:\/\/csp"/);
  assert.doesNotMatch(html, /style=|<style|onclick/);
});

test('a token is told apart by class, and named for screen readers', () => {
  const html = page([token({ text: 'a' }), token({ text: 'b', role: 'base', rejected: 'r' }), token({ text: 'c', intervened: true, baseChoice: 'd' })]);
  assert.match(html, /class="token security" role="option"[^>]*aria-label="a, accepted from the security model"/);
  assert.match(html, /class="token base" role="option"[^>]*aria-label="b, written by the base model"/);
  assert.match(html, /class="token intervened" role="option"[^>]*aria-label="c, hardened[^"]*"/);
  assert.equal(html.match(/tabindex="0"/g)?.length, 1);
  assert.equal(kindOf(token({ role: 'base', intervened: true })), 'intervened');
});

test('an intervention shows what the base would have written, p, q, the ratio and alpha', () => {
  const html = page([token({ text: '?', intervened: true, baseChoice: "'", p: 0.412, q: 0.624, ratio: 0.66 })]);
  for (const piece of ['The base would have written', '&#39;', '0.412', '0.624', '0.660', 'α = 0.3', 'accepted']) {
    assert.ok(html.includes(piece), piece);
  }
  assert.match(page([token({ role: 'base', rejected: 'eval', ratio: 0.1 })]), /rejected<\/dt><dd><code>eval.*0\.100 ≤ α = 0\.3: rejected/);
});

test('absent numbers leave no trace, and no suggestion says so', () => {
  const html = page([token({ p: null, q: null, ratio: null })], { alpha: 0.3 });
  assert.doesNotMatch(html, /null|NaN|undefined/);
  assert.match(explainHtml(null, RESOURCES), /no suggestion yet/);
});

test('new lines and tabs can be seen and stay what they are', () => {
  assert.match(visible('a\n\tb'), /↵<\/span>\n.*⇥<\/span>\tb/);
  assert.match(visible(''), /∅/);
});
