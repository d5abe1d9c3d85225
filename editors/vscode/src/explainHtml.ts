/** The page that explains a suggestion: every token with whose it is and why. No editor in it, so that tests can read it. */
import type { ExplainedToken, Explanation } from './protocol';

export interface Resources {
  /** What the page may load from, and the addresses of its style and script. */
  cspSource: string;
  style: string;
  script: string;
}

/** Whose a token is: one class each, told apart by colour and by its line below. */
export type Kind = 'security' | 'base' | 'intervened';

export function kindOf(token: ExplainedToken): Kind {
  return token.intervened ? 'intervened' : token.role;
}

const NAMES: Record<Kind, string> = {
  security: 'accepted from the security model',
  base: 'written by the base model',
  intervened: 'hardened: not what the base would have written',
};

export function explainHtml(explanation: Explanation | null | undefined, resources: Resources): string {
  const csp = `default-src 'none'; style-src ${resources.cspSource}; script-src ${resources.cspSource}`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta http-equiv="Content-Security-Policy" content="${csp}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Explain the last suggestion</title>
<link rel="stylesheet" href="${escapeHtml(resources.style)}">
</head>
<body>
${explanation ? body(explanation) : empty()}
<script src="${escapeHtml(resources.script)}"></script>
</body>
</html>`;
}

function empty(): string {
  return '<main><h1>Explain the last suggestion</h1><p class="none">There has been no suggestion yet, or the server remembers it no longer.</p></main>';
}

function body(explanation: Explanation): string {
  const count = explanation.interventions;
  const changed = count === 0 ? 'Every token is what the base would have written.' : `${String(count)} of ${String(explanation.tokens.length)} tokens differ from what the base would have written.`;
  return `<main>
<h1>Explain the last suggestion</h1>
<p class="summary">${changed}</p>
${facts(explanation)}
<ul class="legend" aria-label="Legend">${legend('security')}${legend('base')}${legend('intervened')}</ul>
<div class="code" role="listbox" aria-label="Tokens of the suggestion" aria-orientation="horizontal" aria-describedby="how">${explanation.tokens.map(token).join('')}</div>
<p id="how" class="how">Arrow keys go from token to token, <kbd>N</kbd> and <kbd>P</kbd> between hardened ones.</p>
<section id="details" role="status" aria-live="polite" aria-label="The token">${explanation.tokens.map((each, at) => details(each, at, explanation)).join('')}</section>
</main>`;
}

function facts(explanation: Explanation): string {
  const rows: [string, string][] = [];
  const add = (name: string, value: string | number | null | undefined) => {
    if (value !== null && value !== undefined && value !== '') {
      rows.push([name, String(value)]);
    }
  };
  add('Base', explanation.base);
  add('Security', explanation.security);
  add('Adapter', explanation.adapter);
  add('Mode', explanation.mode);
  add('α', explanation.alpha);
  add('Temperature', explanation.temperature);
  add('File', explanation.uri === undefined ? undefined : fileName(explanation.uri));
  return `<dl class="facts">${rows.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>`;
}

function legend(kind: Kind): string {
  return `<li><span class="token ${kind}" aria-hidden="true">text</span> ${NAMES[kind]}</li>`;
}

function token(each: ExplainedToken, at: number): string {
  const kind = kindOf(each);
  const label = `${spoken(each.text)}, ${NAMES[kind]}`;
  return `<span class="token ${kind}" role="option" id="t${String(at)}" tabindex="${at === 0 ? '0' : '-1'}" aria-selected="${String(at === 0)}" aria-label="${escapeHtml(label)}">${visible(each.text)}</span>`;
}

function details(each: ExplainedToken, at: number, explanation: Explanation): string {
  const kind = kindOf(each);
  const rows: [string, string][] = [];
  if (each.intervened && each.baseChoice !== null) {
    rows.push(['The base would have written', `<code>${visible(each.baseChoice)}</code>`]);
  }
  if (each.rejected !== null) {
    rows.push(['Proposed by the security model, and rejected', `<code>${visible(each.rejected)}</code>`]);
  }
  rows.push(...numbers(each, explanation.alpha));
  const list = rows.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join('');
  return `<div class="detail" data-token="${String(at)}"${at === 0 ? '' : ' hidden'}><p><code class="token ${kind}">${visible(each.text)}</code> ${NAMES[kind]}</p><dl>${list}</dl></div>`;
}

function numbers(each: ExplainedToken, alpha: number | undefined): [string, string][] {
  const rows: [string, string][] = [];
  if (each.p !== null) {
    rows.push(['p, by the base', probability(each.p)]);
  }
  if (each.q !== null) {
    rows.push(['q, by the security model', probability(each.q)]);
  }
  if (each.ratio !== null) {
    const compared = alpha === undefined ? '' : each.ratio > alpha ? ` &gt; α = ${String(alpha)}: accepted` : ` ≤ α = ${String(alpha)}: rejected`;
    rows.push(['min(1, p / q)', probability(each.ratio) + compared]);
  }
  return rows;
}

function probability(value: number): string {
  return value >= 0.001 || value === 0 ? value.toFixed(3) : value.toExponential(1);
}

/** Text as it is, with what could not be seen made visible; new lines stay new lines. */
export function visible(text: string): string {
  const marked = escapeHtml(text)
    .replace(/\n/g, '<span class="mark" aria-hidden="true">↵</span>\n')
    .replace(/\t/g, '<span class="mark" aria-hidden="true">⇥</span>\t');
  return marked === '' ? '<span class="mark">∅</span>' : marked;
}

function spoken(text: string): string {
  if (text.trim() === '') {
    return text === '' ? 'nothing' : text.includes('\n') ? 'new line' : `${String(text.length)} blanks`;
  }
  return text.trim();
}

function fileName(uri: string): string {
  const last = uri.split('/').at(-1) ?? uri;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

export function escapeHtml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;').replace(/'/g, '&#39;');
}
