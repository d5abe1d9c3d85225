/** What is said when the server cannot be used: one sentence each, with what to do. */
import type { Located } from './locate';

/** The version of the protocol's extensions (`capabilities.experimental.cosec.version`) that this extension knows. */
export const PROTOCOL_VERSION = 2;

/** How a server process ended. */
export interface Ending {
  code: number | null;
  signal: string | null;
  /** The last line on standard error, if any. */
  lastLine?: string;
}

/** A problem to be shown in the status bar and, once, as a message. */
export interface Problem {
  sentence: string;
  /** Which buttons help. */
  remedies: Remedy[];
}

export type Remedy = 'settings' | 'install' | 'output' | 'restart';

export function notLocated(located: Extract<Located, { problem: string }>): Problem {
  switch (located.problem) {
    case 'setting':
      return {
        sentence: `The setting “cosec-ls.server.path” names ${located.file ?? 'a program'}, which is not there: correct it, or clear it to use an installed cosec-ls.`,
        remedies: ['settings', 'install'],
      };
    case 'not executable':
      return {
        sentence: `${located.file ?? 'cosec-ls'} is not executable: make it so (chmod +x), or name another program in the setting “cosec-ls.server.path”.`,
        remedies: ['settings', 'install'],
      };
    case 'missing':
      return {
        sentence: 'The program cosec-ls was not found: install it, or name it in the setting “cosec-ls.server.path”.',
        remedies: ['install', 'settings'],
      };
  }
}

export function endedAtStart(program: string, ending: Ending): Problem {
  const said = ending.lastLine ? `: ${shorten(ending.lastLine)}` : '';
  return {
    sentence: `${program} ended ${how(ending)} before it could be used${said.replace(/\.$/, '')}. The output says more.`,
    remedies: ['output', 'settings', 'install'],
  };
}

export function cannotRun(program: string, reason: string): Problem {
  return {
    sentence: `${program} cannot be run here (${shorten(reason)}): install cosec-ls for this machine, or name another program in the setting “cosec-ls.server.path”.`,
    remedies: ['install', 'settings'],
  };
}

/** `undefined` if the server and this extension understand each other. */
export function otherVersion(program: string, server: string | undefined, protocol: unknown): Problem | undefined {
  if (protocol === PROTOCOL_VERSION) {
    return undefined;
  }
  const which = server ? `cosec-ls ${server}` : 'a program';
  const newer = typeof protocol === 'number' && protocol > PROTOCOL_VERSION;
  const spoken = typeof protocol === 'number' ? `version ${String(protocol)}` : 'none';
  return {
    sentence: `${program} is ${which} and speaks another protocol (${spoken}, this extension needs version ${String(PROTOCOL_VERSION)}): update ${newer ? 'the extension' : 'cosec-ls'}.`,
    remedies: ['install', 'settings'],
  };
}

export function crashed(ending: Ending): string {
  return `The completion server ended ${how(ending)} and was started again.`;
}

export function crashesTooOften(ending: Ending, times: number): Problem {
  return {
    sentence: `The completion server ended ${String(times)} times in three minutes, last ${how(ending)}; it is not started again by itself.`,
    remedies: ['restart', 'output'],
  };
}

function how(ending: Ending): string {
  if (ending.signal) {
    return `by ${ending.signal}`;
  }
  return ending.code === null ? 'unexpectedly' : `with exit code ${String(ending.code)}`;
}

function shorten(text: string): string {
  const line = text.trim().split('\n')[0] ?? '';
  return line.length > 160 ? `${line.slice(0, 159)}…` : line;
}
