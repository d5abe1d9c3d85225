/** What the status bar says; no editor in it, so that tests can read every state. */
import type { Status } from './protocol';
import type { Problem } from './sentences';

/** What is known of the server, from "being started" to its own account of itself. */
export type View =
  | { kind: 'starting'; again: boolean }
  | { kind: 'stopped' }
  | { kind: 'problem'; problem: Problem }
  | { kind: 'running'; status: Status | undefined };

export interface Shown {
  text: string;
  /** For screen readers, and the first line of the tooltip. */
  summary: string;
  details: string[];
  severity: 'none' | 'warning' | 'error';
}

export function statusText(view: View, paused: boolean): Shown {
  switch (view.kind) {
    case 'starting':
      return plain('$(loading~spin) CoSec', view.again ? 'The completion server is being started again' : 'The completion server is being started');
    case 'stopped':
      return plain('$(circle-slash) CoSec', 'The completion server is stopped');
    case 'problem':
      return { text: '$(error) CoSec', summary: view.problem.sentence, details: [], severity: 'error' };
    case 'running':
      return view.status ? running(view.status, paused) : plain('$(loading~spin) CoSec', 'The completion server is being asked for its state');
  }
}

function running(status: Status, paused: boolean): Shown {
  const details = detailsOf(status);
  const models = status.models;
  if (models.state === 'failed') {
    return { text: '$(error) CoSec', summary: `The models cannot be used: ${firstLine(models.reason)}`, details, severity: 'error' };
  }
  if (models.state === 'missing') {
    return {
      text: '$(cloud-download) CoSec',
      summary: `The models of the profile “${models.profile}” are not here yet (${bytes(models.downloadBytes)} to download)`,
      details,
      severity: 'warning',
    };
  }
  if (models.state === 'fetching') {
    const share = percent(models.doneBytes, models.totalBytes);
    return { text: `$(cloud-download) CoSec ${share}`, summary: `Downloading ${models.model}: ${share} of ${bytes(models.totalBytes)}`, details, severity: 'none' };
  }
  if (paused || !status.enabled) {
    return { text: '$(debug-pause) CoSec', summary: 'Suggestions are paused', details, severity: 'none' };
  }
  if (models.state === 'loading') {
    return { text: '$(loading~spin) CoSec', summary: 'The models are being loaded', details, severity: 'none' };
  }
  const icon = status.busy ? '$(loading~spin)' : status.hardened && status.mode !== 'off' ? '$(shield)' : '$(unlock)';
  const speed = status.tokensPerSecond === undefined ? '' : ` ${speedText(status.tokensPerSecond)}`;
  const idle = models.state === 'unloaded' ? 'Ready; the models are loaded with the next suggestion' : status.busy ? 'Working on a suggestion' : 'Ready';
  return { text: `${icon} ${status.profile}${speed}`, summary: idle, details, severity: 'none' };
}

function detailsOf(status: Status): string[] {
  const models = status.models;
  const lines = [`Profile ${status.profile}, mode ${status.mode}`, hardening(status)];
  if (models.state === 'ready') {
    lines.push(`Base ${models.base}`, `Security ${models.security}${models.adapter ? ` with ${models.adapter}` : ''}`);
  }
  if (status.tokensPerSecond !== undefined) {
    lines.push(speedText(status.tokensPerSecond).replace('/s', ' tokens per second'));
  }
  if (status.residentBytes !== undefined) {
    lines.push(`${bytes(status.residentBytes)} of memory`);
  }
  return lines;
}

/** Whether what is written is hardened, in words: the colour or icon alone would not do. */
export function hardening(status: Status): string {
  if (status.mode === 'off') {
    return 'Not hardened: the base model alone';
  }
  return status.hardened ? 'Hardened by a trained adapter' : 'Not hardened: no trained adapter takes part';
}

function plain(text: string, summary: string): Shown {
  return { text, summary, details: [], severity: 'none' };
}

function speedText(tokensPerSecond: number): string {
  return tokensPerSecond < 10 ? `${tokensPerSecond.toFixed(1)}/s` : `${Math.round(tokensPerSecond).toString()}/s`;
}

export function percent(done: number, total: number): string {
  return total > 0 ? `${String(Math.min(100, Math.floor((100 * done) / total)))} %` : '0 %';
}

/** A reason may go on with a line for each source that was tried; the first one says what it is about. */
export function firstLine(reason: string): string {
  return (reason.trim().split('\n')[0] ?? '').replace(/:$/, '');
}

export function bytes(count: number): string {
  if (count >= 1e9) {
    return `${(count / 1e9).toFixed(1)} GB`;
  }
  return count >= 1e6 ? `${Math.round(count / 1e6).toString()} MB` : `${Math.max(1, Math.round(count / 1e3)).toString()} kB`;
}
