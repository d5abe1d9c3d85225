// Writes the server's settings into package.json, from the table of docs/PROTOCOL.md: one place says what they are.
// Usage: node scripts/settings.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const PACKAGE = path.join(here, '..', 'package.json');
const PROTOCOL = path.join(here, '..', '..', '..', 'docs', 'PROTOCOL.md');

/** Where this editor's default is another than the server's, and why. */
const OWN_DEFAULTS = {
  earlyAnswerMs: { value: 1, why: 'In VS Code the first whole line is shown at once, and the rest as it is complete.' },
  candidates: { value: 3, why: 'In VS Code Alt+] and Alt+[ go through them.' },
  download: { value: 'ask', why: 'VS Code asks once per profile, with the size.' },
};

/** Settings that a workspace nobody trusts must not set: they name files, or weaken what is suggested or what is kept out. */
export const RESTRICTED = ['server.path', 'profile', 'adapter', 'adapterStrength', 'mode', 'alpha', 'alphaByLanguage', 'alphaByPath', 'ratio', 'temperature', 'schemes', 'excludedFiles', 'download'];

/** Rows of the table "Settings": name, type, default and meaning, as written. */
export function rows(markdown) {
  const section = markdown.split(/^## Settings$/m)[1].split(/^#{2,3} /m)[0];
  return section
    .split('\n')
    .filter((line) => /^\| `\w+` \|/.test(line))
    .map((line) => {
      const [name, type, fallback, ...meaning] = line.split('|').slice(1, -1).map((cell) => cell.trim());
      return { name: name.replaceAll('`', ''), type, fallback, meaning: meaning.join('|') };
    });
}

/** One row as a property of `contributes.configuration`. */
export function property({ name, type, fallback, meaning }, order) {
  const own = OWN_DEFAULTS[name];
  const value = own ? own.value : defaultOf(fallback);
  const description = `${plain(meaning)}${own ? ` ${own.why}` : ''}${value === null ? ' Empty: what the profile says.' : ''}`;
  return { ...schema(type, value === null), default: value, markdownDescription: description, order };
}

function defaultOf(fallback) {
  return /^`.*`$/.test(fallback) ? JSON.parse(fallback.slice(1, -1)) : null;
}

/** Links lead within the document; their text stays. */
function plain(meaning) {
  return meaning.replace(/;? ?see \[([^\]]+)\]\([^)]*\)/g, '').replace(/\[([^\]]+)\]\([^)]*\)/g, (_, text) => (text === 'below' ? 'described in PROTOCOL.md' : text)).replaceAll('\\\\', '\\').replace(/ +([.,])/g, '$1');
}

function schema(type, optional) {
  const nullable = (name) => (optional ? { type: [name, 'null'] } : { type: name });
  const range = /from (\d+) to (\d+)/.exec(type);
  const limits = range ? { minimum: Number(range[1]), maximum: Number(range[2]) } : {};
  const choices = [...type.matchAll(/`"([\w-]+)"`/g)].map((match) => match[1]);
  if (/^boolean/.test(type)) {
    return { type: 'boolean' };
  }
  if (/^integer/.test(type)) {
    return choices.length > 0 ? { type: ['integer', 'string'], anyOf: [{ type: 'integer', ...limits }, { enum: choices }] } : { ...nullable('integer'), ...limits };
  }
  if (/^number/.test(type)) {
    return { ...nullable('number'), ...limits };
  }
  if (/^string/.test(type)) {
    return nullable('string');
  }
  if (choices.length > 0) {
    return { ...nullable('string'), enum: optional ? [...choices, null] : choices };
  }
  if (/^object/.test(type)) {
    return { type: 'object', additionalProperties: /each a number/.test(type) ? { type: 'number', ...limits } : { type: 'boolean' } };
  }
  if (/^array of `\[glob/.test(type)) {
    return { type: 'array', items: { type: 'array', minItems: 2, maxItems: 2, items: [{ type: 'string' }, { type: 'number', ...limits }] } };
  }
  if (/^array/.test(type)) {
    return { type: 'array', items: { type: 'string' } };
  }
  throw new Error(`docs/PROTOCOL.md has a type that is not known here: ${type}`);
}

/** The whole of `contributes.configuration`. */
export function configuration(markdown) {
  const properties = {
    'cosec-ls.server.path': {
      type: ['string', 'null'],
      default: null,
      scope: 'machine-overridable',
      markdownDescription: 'The program `cosec-ls` to run. Empty: the one in this extension, else the one on the `PATH`, in `~/.cargo/bin` or in `~/.local/bin`.',
      order: 0,
    },
    'cosec-ls.trace.server': {
      type: 'string',
      enum: ['messages', 'verbose'],
      default: 'messages',
      markdownDescription: 'What of the messages between the extension and the server is written to the output once its log level is *Trace*: their names, or with `verbose` all of them, and so your code as well.',
      order: 1,
    },
  };
  rows(markdown).forEach((row, at) => {
    properties[`cosec-ls.${row.name}`] = property(row, at + 2);
  });
  return { title: 'CoSec', properties };
}

export function updated(manifest, markdown) {
  const contributes = { ...manifest.contributes, configuration: configuration(markdown) };
  const restrictedConfigurations = RESTRICTED.map((name) => `cosec-ls.${name}`).filter((name) => name in contributes.configuration.properties);
  const untrustedWorkspaces = { ...manifest.capabilities.untrustedWorkspaces, restrictedConfigurations };
  return { ...manifest, capabilities: { ...manifest.capabilities, untrustedWorkspaces }, contributes };
}

export const text = (manifest) => `${JSON.stringify(manifest, null, 2)}\n`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const before = readFileSync(PACKAGE, 'utf8');
  const after = text(updated(JSON.parse(before), readFileSync(PROTOCOL, 'utf8')));
  if (process.argv.includes('--check')) {
    if (before !== after) {
      console.error('package.json does not have the settings of docs/PROTOCOL.md: run `npm run settings`');
      process.exitCode = 1;
    }
  } else {
    writeFileSync(PACKAGE, after);
  }
}
