/** Downloads: asked for once with their size, shown with their progress, and cancelled by the button beside it. */
import * as vscode from 'vscode';
import type { LanguageClient, ProgressToken, WorkDoneProgressBegin, WorkDoneProgressEnd, WorkDoneProgressReport } from 'vscode-languageclient/node';
import type { Models } from './protocol';
import { bytes } from './statusText';

type Progress = WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd;

interface Shown {
  report: vscode.Progress<{ message?: string; increment?: number }> | undefined;
  percentage: number;
  close: () => void;
}

export class Transfers {
  private readonly shown = new Map<ProgressToken, Shown>();
  private asking = false;
  private fetching = false;
  private failure: string | undefined;

  constructor(
    private readonly memory: vscode.Memento,
    private readonly output: vscode.LogOutputChannel,
  ) {}

  /** Asks once per profile, for as long as VS Code remembers; the menu offers the download whenever something is missing. */
  async ask(models: Extract<Models, { state: 'missing' }>, pull: () => void): Promise<void> {
    const key = `cosec.askedToDownload.${models.profile}`;
    if (this.asking || this.memory.get(key)) {
      return;
    }
    this.asking = true;
    const question = `CoSec completes code with models that run on this machine: download those of the profile “${models.profile}” now (${bytes(models.downloadBytes)})?`;
    const choice = await vscode.window.showInformationMessage(question, 'Download', 'Not now');
    this.asking = false;
    if (choice) {
      await this.memory.update(key, choice);
    }
    if (choice === 'Download') {
      pull();
    }
  }

  /** Says once why a download has failed; the status bar goes on saying it. */
  follow(models: Models, pull: () => void): void {
    if (models.state === 'failed') {
      if (this.fetching && models.reason !== this.failure) {
        this.failure = models.reason;
        this.output.error(models.reason);
        const sentence = 'The models could not be downloaded, perhaps for want of a network or its proxy; the output has what each source said.';
        void vscode.window.showErrorMessage(sentence, 'Try again', 'Show output').then((choice) => {
          if (choice === 'Try again') {
            pull();
          } else if (choice) {
            this.output.show();
          }
        });
      }
    } else if (models.state === 'ready') {
      this.failure = undefined;
    }
    this.fetching = models.state === 'fetching' || (this.fetching && models.state === 'loading');
  }

  /** The user has asked for a download: its failure is to be said, and said again. */
  begin(): void {
    this.fetching = true;
    this.failure = undefined;
  }

  /** VS Code's window progress, which the language client would take, has no button to cancel: a notification has. */
  progress(token: ProgressToken, params: Progress, next: (token: ProgressToken, params: Progress) => void, client: LanguageClient | undefined): void {
    if (params.kind === 'begin' && params.cancellable && client) {
      this.open(token, params, client);
      return;
    }
    const shown = this.shown.get(token);
    if (!shown) {
      next(token, params);
      return;
    }
    if (params.kind === 'report') {
      report(shown, params);
      return;
    }
    shown.close();
    this.shown.delete(token);
    next(token, params); // it listens no longer
  }

  /** The server is gone, and its progress with it. */
  clear(): void {
    for (const shown of this.shown.values()) {
      shown.close();
    }
    this.shown.clear();
  }

  private open(token: ProgressToken, params: WorkDoneProgressBegin, client: LanguageClient): void {
    let close: () => void = () => undefined;
    const closed = new Promise<void>((resolve) => (close = resolve));
    const shown: Shown = { report: undefined, percentage: 0, close };
    this.shown.set(token, shown);
    const options = { location: vscode.ProgressLocation.Notification, title: params.title, cancellable: true };
    void vscode.window.withProgress(options, (progress, cancelled) => {
      shown.report = progress;
      report(shown, params);
      cancelled.onCancellationRequested(() => {
        void client.sendNotification('window/workDoneProgress/cancel', { token });
      });
      return closed;
    });
  }
}

function report(shown: Shown, params: WorkDoneProgressBegin | WorkDoneProgressReport): void {
  const increment = params.percentage === undefined ? 0 : Math.max(0, params.percentage - shown.percentage);
  shown.percentage += increment;
  shown.report?.report({ increment, ...(params.message ? { message: params.message } : {}) });
}
