/** What the server adds to LSP, as in docs/PROTOCOL.md; only what this extension reads. */

export type Models =
  | { state: 'ready'; profile?: string; base: string; security: string; adapter?: string | null }
  | { state: 'unloaded' }
  | { state: 'failed'; reason: string }
  | { state: 'loading'; profile?: string }
  | { state: 'fetching'; model: string; doneBytes: number; totalBytes: number }
  | { state: 'missing'; profile: string; models: string[]; downloadBytes: number };

export interface Status {
  version: string;
  enabled: boolean;
  profile: string;
  mode: 'off' | 'cosec' | 'security';
  alpha?: number;
  hardened: boolean;
  note?: string | null;
  busy?: boolean;
  models: Models;
  tokensPerSecond?: number;
  acceptance?: number;
  residentBytes?: number;
  profiles?: { name: string; base: string; security: string }[];
  suggestions?: { suggested: number; shown: number; accepted: number };
  totals?: { requests: number; interventions: number };
  lastEmptyReason?: string | null;
  /** Only in the answer to a question about one document. */
  document?: { uri: string; language: string; completed: boolean; reason?: string | null; lastEmptyReason?: string | null };
}

export interface ExplainedToken {
  token: number;
  text: string;
  role: 'security' | 'base';
  p: number | null;
  q: number | null;
  ratio: number | null;
  rejected: string | null;
  baseChoice: string | null;
  intervened: boolean;
}

export interface Explanation {
  id: number;
  text: string;
  finish?: string;
  interventions: number;
  tokens: ExplainedToken[];
  alpha?: number;
  mode?: string;
  temperature?: number;
  uri?: string;
  language?: string;
  base?: string;
  security?: string;
  adapter?: string | null;
}
