/** A language client of one server process, without the messages that pop up from below. */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { homedir } from 'node:os';
import * as vscode from 'vscode';
import { CloseAction, ErrorAction, LanguageClient, RevealOutputChannelOn } from 'vscode-languageclient/node';
import type { ClientCapabilities, FeatureState, LanguageClientOptions, Middleware, StaticFeature } from 'vscode-languageclient/node';
import { settingsForServer } from './settings';
import type { Ending } from './sentences';

/** Every problem is said by whoever looks after the server; the client itself only logs. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override warn(message: string, data?: unknown): void {
    super.warn(message, data, false);
  }

  override info(message: string, data?: unknown): void {
    super.info(message, data, false);
  }
}

/** Tells the server that this client wants its state as it changes. */
class AnnounceStatus implements StaticFeature {
  fillClientCapabilities(capabilities: ClientCapabilities): void {
    capabilities.experimental = { ...(capabilities.experimental as object | undefined), cosec: { status: true } };
  }

  initialize(): void {
    // Nothing to register.
  }

  getState(): FeatureState {
    return { kind: 'static' };
  }

  clear(): void {
    // Nothing to take back.
  }
}

export interface ServerProcess {
  client: LanguageClient;
  /** Resolves when the process is gone, or could not be started. */
  ended: Promise<Ending | { error: string }>;
  /** Ends the process if it is still there. */
  kill(): void;
}

export function newClient(program: string, output: vscode.LogOutputChannel, middleware: Middleware): ServerProcess {
  let process: ChildProcessWithoutNullStreams | undefined;
  let end: (ending: Ending | { error: string }) => void = () => undefined;
  const ended = new Promise<Ending | { error: string }>((resolve) => (end = resolve));
  const start = (): Promise<ChildProcessWithoutNullStreams> => {
    const child = spawn(program, ['serve'], { stdio: 'pipe', cwd: homedir(), windowsHide: true });
    process = child;
    let lastLine: string | undefined;
    child.stderr.on('data', (data: Buffer) => (lastLine = data.toString().trimEnd().split('\n').at(-1) ?? lastLine));
    child.on('error', (error) => {
      end({ error: error.message });
    });
    child.on('close', (code, signal) => {
      end({ code, signal, ...(lastLine ? { lastLine } : {}) });
    });
    child.stdin.on('error', () => undefined); // a pipe that broke is told by `close`
    return Promise.resolve(child);
  };
  const client = new QuietClient('cosec-ls', 'CoSec', start, options(output, middleware));
  client.registerFeature(new AnnounceStatus());
  return {
    client,
    ended,
    kill: () => {
      if (process?.exitCode === null && process.signalCode === null) {
        process.kill('SIGKILL');
      }
    },
  };
}

function options(output: vscode.LogOutputChannel, middleware: Middleware): LanguageClientOptions {
  const settings = settingsForServer();
  const schemes = Array.isArray(settings['schemes']) ? settings['schemes'] : ['file', 'untitled'];
  return {
    documentSelector: schemes.filter((scheme) => typeof scheme === 'string').map((scheme) => ({ scheme })),
    initializationOptions: settings,
    outputChannel: output,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    stdioOptions: {
      stdout: () => undefined,
      stderr: (stream, channel) => {
        stream.on('data', (data: Buffer) => {
          for (const line of data.toString().split('\n').filter((line) => line.trim() !== '')) {
            channel.info(line);
          }
        });
      },
    },
    // A process that ended is started again by the session, not from here.
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
    },
    initializationFailedHandler: () => false,
    middleware,
  };
}
