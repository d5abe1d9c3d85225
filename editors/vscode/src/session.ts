/** One server process for the window: started, watched, started again, and what is wrong with it said once. */
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { LanguageClient, Middleware } from 'vscode-languageclient/node';
import { newClient } from './client';
import type { ServerProcess } from './client';
import { locate } from './locate';
import type { Machine } from './locate';
import { Transfers } from './transfers';
import type { Status } from './protocol';
import { Crashes } from './restart';
import { cannotRun, crashed, crashesTooOften, endedAtStart, notLocated, otherVersion } from './sentences';
import type { Ending, Problem, Remedy } from './sentences';
import { forServer } from './section';
import { SECTION, readString } from './settings';
import type { View } from './statusText';
import { Suggestions } from './suggest';

/** A server that says nothing to `initialize` for this long is given up. */
const START_MS = 30_000;

interface Running {
  server: ServerProcess;
  suggestions: Suggestions;
}

export class Session implements vscode.Disposable {
  private running: Running | undefined;
  /** Counts starts, so that what an older one still has to say is not heard. */
  private generation = 0;
  private readonly crashes = new Crashes();
  private readonly said = new Set<string>();
  private current: View = { kind: 'stopped' };
  private readonly changed = new vscode.EventEmitter<View>();
  readonly onDidChange = this.changed.event;
  private timer: NodeJS.Timeout | undefined;
  /** What was typed in last while no server was running. */
  private typedIn: vscode.TextDocument | undefined;
  private readonly typing = vscode.workspace.onDidChangeTextDocument((event) => {
    if (this.current.kind !== 'running' && event.contentChanges.length > 0) {
      this.typedIn = event.document;
    }
  });

  constructor(
    private readonly extensionFolder: string,
    private readonly output: vscode.LogOutputChannel,
    private readonly transfers: Transfers,
  ) {}

  get view(): View {
    return this.current;
  }

  get client(): LanguageClient | undefined {
    return this.current.kind === 'running' ? this.running?.server.client : undefined;
  }

  get suggestions(): Suggestions | undefined {
    return this.running?.suggestions;
  }

  dispose(): void {
    void this.stop();
    this.typing.dispose();
    this.changed.dispose();
  }

  /** Starts a server; by hand, everything that was said before may be said again. */
  async restart(): Promise<void> {
    this.crashes.forget();
    this.said.clear();
    await this.stop();
    await this.start(undefined);
  }

  async stop(): Promise<void> {
    this.generation += 1;
    clearTimeout(this.timer);
    const running = this.running;
    this.running = undefined;
    this.show({ kind: 'stopped' });
    if (running) {
      await end(running);
    }
  }

  /** Starts the server, after a crash if there was one. */
  async start(after: { ending: Ending; first: boolean } | undefined): Promise<void> {
    const generation = ++this.generation;
    this.show({ kind: 'starting', again: after !== undefined });
    const located = locate(thisMachine(), readString('server.path'), this.extensionFolder);
    if ('problem' in located) {
      this.fail(notLocated(located));
      return;
    }
    this.output.info(`Starting ${located.program} (from the ${located.from})`);
    const server = newClient(located.program, this.output, this.middleware());
    const suggestions = new Suggestions(server.client);
    const running: Running = { server, suggestions };
    this.running = running;
    const outcome = await Promise.race([
      server.client.start().then(
        () => 'started' as const,
        (error: unknown) => new Promise<string>((resolve) => setTimeout(resolve, 500, String(error))), // its end says more
      ),
      server.ended,
      new Promise<string>((resolve) => setTimeout(resolve, START_MS, `it did not answer within ${String(START_MS / 1000)} seconds`)),
    ]);
    if (generation !== this.generation) {
      await end(running);
      return;
    }
    const problem = outcome === 'started' ? this.otherProtocol(server.client, located.program) : whyNot(located.program, outcome);
    if (problem) {
      this.running = undefined;
      await end(running);
      this.fail(problem);
      return;
    }
    this.isRunning(running, generation, after);
  }

  /** What a document's suggestions are at, asked now. */
  async status(document?: vscode.TextDocument): Promise<Status | undefined> {
    const client = this.client;
    try {
      return await client?.sendRequest<Status>('cosec/status', document ? { textDocument: { uri: client.code2ProtocolConverter.asUri(document.uri) } } : {});
    } catch {
      return undefined;
    }
  }

  /** A command of the server; `undefined` while there is none. */
  async command<T>(command: string, ...args: unknown[]): Promise<T | undefined> {
    try {
      return await this.client?.sendRequest<T>('workspace/executeCommand', { command, arguments: args });
    } catch (error) {
      this.output.warn(`${command}: ${String(error)}`);
      return undefined;
    }
  }

  /** Says only that something has changed: the server then pulls, and never sees the extension's own settings. */
  settingsChanged(): void {
    void this.client?.sendNotification('workspace/didChangeConfiguration', { settings: null });
  }

  private isRunning(running: Running, generation: number, after: { ending: Ending; first: boolean } | undefined): void {
    const { client, ended } = running.server;
    this.said.clear();
    this.show({ kind: 'running', status: undefined });
    if (this.typedIn) {
      void running.suggestions.typedBefore(this.typedIn);
      this.typedIn = undefined;
    }
    client.onNotification('cosec/didChangeStatus', (status: Status) => {
      this.statusChanged(status, generation);
    });
    void this.status().then((status) => {
      if (status) {
        this.statusChanged(status, generation);
      }
    });
    void ended.then((ending) => {
      if (generation === this.generation) {
        this.crashedWith('error' in ending ? { code: null, signal: null } : ending);
      }
    });
    if (after?.first) {
      void vscode.window.showWarningMessage(crashed(after.ending), 'Show output').then((choice) => {
        if (choice) {
          this.output.show();
        }
      });
    }
  }

  private statusChanged(status: Status, generation: number): void {
    if (generation !== this.generation || this.current.kind !== 'running') {
      return;
    }
    const before = this.current.status?.models.state;
    this.show({ kind: 'running', status });
    if (status.models.state === 'ready' && before !== undefined && before !== 'ready') {
      void this.running?.suggestions.again();
    }
  }

  private crashedWith(ending: Ending): void {
    const running = this.running;
    this.running = undefined;
    if (running) {
      void end(running);
    }
    const decision = this.crashes.next(Date.now());
    this.output.warn(`The server ended: exit code ${String(ending.code)}, signal ${String(ending.signal)}`);
    if (decision.delayMs === undefined) {
      this.fail(crashesTooOften(ending, decision.times));
      return;
    }
    this.show({ kind: 'starting', again: true });
    this.timer = setTimeout(() => void this.start({ ending, first: decision.first }), decision.delayMs);
  }

  private otherProtocol(client: LanguageClient, program: string): Problem | undefined {
    const answer = client.initializeResult;
    const experimental = answer?.capabilities.experimental as { cosec?: { version?: unknown } } | undefined;
    return otherVersion(program, answer?.serverInfo?.version, experimental?.cosec?.version);
  }

  private middleware(): Middleware {
    return {
      provideInlineCompletionItems: (document, position, context, token) => this.suggestions?.provide(document, position, context, token),
      handleWorkDoneProgress: (token, params, next) => {
        this.transfers.progress(token, params, next, this.running?.server.client);
      },
      workspace: {
        configuration: async (params, token, next) => {
          const answer = await next(params, token);
          return Array.isArray(answer) ? answer.map((section: unknown, at) => (params.items[at]?.section === SECTION ? forServer(section) : section)) : answer;
        },
      },
    };
  }

  private fail(problem: Problem): void {
    this.output.error(problem.sentence);
    this.show({ kind: 'problem', problem });
    if (this.said.has(problem.sentence)) {
      return;
    }
    this.said.add(problem.sentence);
    const buttons = problem.remedies.map((remedy) => ({ title: TITLES[remedy], remedy }));
    void vscode.window.showErrorMessage(problem.sentence, ...buttons).then((choice) => {
      if (choice) {
        void vscode.commands.executeCommand(COMMANDS[choice.remedy]);
      }
    });
  }

  private show(view: View): void {
    this.current = view;
    this.changed.fire(view);
  }
}

const TITLES: Record<Remedy, string> = { settings: 'Open settings', install: 'How to install', output: 'Show output', restart: 'Start again' };

const COMMANDS: Record<Remedy, string> = { settings: 'cosec.openSettings', install: 'cosec.howToInstall', output: 'cosec.showOutput', restart: 'cosec.restart' };

function whyNot(program: string, outcome: string | Ending | { error: string }): Problem {
  if (typeof outcome === 'string') {
    return endedAtStart(program, { code: null, signal: null, lastLine: outcome });
  }
  return 'error' in outcome ? cannotRun(program, outcome.error) : endedAtStart(program, outcome);
}

async function end(running: Running): Promise<void> {
  running.suggestions.dispose();
  await running.server.client.dispose(2000).catch(() => undefined);
  running.server.kill();
}

function thisMachine(): Machine {
  return {
    platform: process.platform,
    home: homedir(),
    env: process.env,
    kind: (file) => {
      try {
        if (fs.statSync(file).isDirectory()) {
          return 'directory';
        }
        fs.accessSync(path.resolve(file), fs.constants.X_OK);
        return 'program';
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'not executable' : 'absent';
      }
    },
  };
}
