/**
 * Between VS Code's inline suggestions and the server: what is asked, when it is shown, and when it is given up.
 *
 * VS Code shows one answer per question, and asks twice at one place only if the second time it is told to
 * (`editor.action.inlineSuggest.trigger`); what is shown stays until the second answer is there. So text streams in two
 * steps that never flicker: the server answers with the first whole lines (`earlyAnswerMs`), the same question is then asked
 * for all of it, and where that is more than is shown, VS Code is told to ask again and gets it.
 *
 * Nothing is cut, joined or remembered here: what is shown is what the server answered to the question at this very place.
 */
import { randomUUID } from 'node:crypto';
import * as vscode from 'vscode';
import { InlineCompletionRequest, ProgressType } from 'vscode-languageclient/node';
import type { InlineCompletionItem, InlineCompletionList, InlineCompletionParams, LanguageClient } from 'vscode-languageclient/node';

type Answer = InlineCompletionItem[];

/** After this long, a question that VS Code no longer waits for and that no other has followed is given up. */
const GRACE_MS = 300;

/** What must hold still for an answer to fit. */
interface Place {
  document: vscode.TextDocument;
  version: number;
  position: vscode.Position;
  /** The entry that is selected in the popup menu. */
  selected: string;
}

interface Question extends Place {
  params: InlineCompletionParams;
  giveUp: vscode.CancellationTokenSource;
  /** What VS Code was given. */
  shown: Answer;
  /** All candidates, where they were asked for. */
  all?: Promise<Answer | undefined>;
  /** Which of them is on the screen. */
  at: number;
  /** VS Code asks once by hand at one place, and has done so. */
  spent: boolean;
}

export class Suggestions implements vscode.Disposable {
  private last: Question | undefined;
  /** The question that VS Code is being told to ask again, and what it gets. */
  private handingOver: { question: Question; answer: Answer } | undefined;
  /** VS Code is being told to ask what was asked before, for which nobody pressed a key. */
  private askingAgain = false;
  private readonly subscriptions: vscode.Disposable[] = [];

  constructor(private readonly client: LanguageClient) {
    this.subscriptions.push(
      vscode.window.onDidChangeTextEditorSelection((event) => {
        this.cursorMoved(event);
      }),
    );
  }

  dispose(): void {
    this.last?.giveUp.cancel();
    for (const subscription of this.subscriptions) {
      subscription.dispose();
    }
  }

  /** The middleware of the same name. */
  async provide(
    document: vscode.TextDocument,
    position: vscode.Position,
    context: vscode.InlineCompletionContext,
    token: vscode.CancellationToken,
  ): Promise<vscode.InlineCompletionItem[] | undefined> {
    const params = this.client.code2ProtocolConverter.asInlineCompletionParams(document, position, context);
    const place: Place = { document, version: document.version, position, selected: JSON.stringify(context.selectedCompletionInfo ?? null) };
    const handedOver = this.handingOver;
    if (handedOver && same(handedOver.question, place)) {
      return this.convert(handedOver.answer, token);
    }
    const invoked = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke;
    const byHand = invoked && !handedOver && !this.askingAgain;
    const more = byHand && this.last !== undefined && same(this.last, place) && this.last.shown.length > 0;
    const answer = more ? await this.askForMore(place, params, token) : await this.ask(byHand ? 1 : 2, invoked, place, params, token);
    return answer && this.convert(answer, token);
  }

  /** Where VS Code has spent its one question by hand: asks for the other candidates, and steps among them. */
  async cycle(step: 1 | -1): Promise<void> {
    const question = this.last;
    if (!question || !this.isHere(question)) {
      await vscode.commands.executeCommand(step === 1 ? 'editor.action.inlineSuggest.showNext' : 'editor.action.inlineSuggest.showPrevious');
      return;
    }
    const answer = await (question.all ??= this.askForAll(question, 1));
    if (this.last !== question || !this.isHere(question)) {
      return;
    }
    void setContext('cosec.moreCandidates', false); // VS Code has them all, and needs no help from here on
    if (answer && answer.length > 1) {
      const at = (question.at + step + answer.length) % answer.length;
      await this.handOver(question, [...answer.slice(at), ...answer.slice(0, at)], ['hide', 'trigger']); // the wanted one first
    }
  }

  /** Hides what is shown, and gives up what is still being written. */
  async dismiss(): Promise<void> {
    this.last?.giveUp.cancel();
    this.forget();
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
  }

  /** The models have become ready: a question that got nothing for want of them is asked again, if nothing has changed. */
  async again(): Promise<void> {
    const question = this.last;
    if (question && question.shown.length === 0 && !question.spent && this.isHere(question)) {
      this.askingAgain = true;
      await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger').then(undefined, () => undefined);
      this.askingAgain = false;
    }
  }

  /** A document was typed in before there was anybody to ask: asks now, if the cursor is in it. */
  async typedBefore(document: vscode.TextDocument): Promise<void> {
    if (!this.last && vscode.window.state.focused && vscode.window.activeTextEditor?.document === document) {
      this.askingAgain = true;
      await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger').then(undefined, () => undefined);
      this.askingAgain = false;
    }
  }

  private async ask(kind: 1 | 2, spent: boolean, place: Place, params: InlineCompletionParams, token: vscode.CancellationToken): Promise<Answer | undefined> {
    const question = this.begin(place, params);
    question.spent = spent;
    const first = this.send({ ...params, context: { ...params.context, triggerKind: kind } }, question.giveUp.token);
    const answer = await this.waitedFor(question, token, first);
    if (answer && answer.length > 0 && this.last === question) {
      question.shown = answer;
      void this.showTheRest(question);
    }
    return answer;
  }

  /** Something is shown, and VS Code asks by hand: the keys for the next candidate do that. Two are enough to go on. */
  private async askForMore(place: Place, params: InlineCompletionParams, token: vscode.CancellationToken): Promise<Answer | undefined> {
    const question = this.begin(place, params);
    question.spent = true;
    let enough: (answer: Answer) => void = () => undefined;
    const two = new Promise<Answer>((resolve) => (enough = resolve));
    const all = this.askForAll(question, 1, (soFar) => {
      if (soFar.length > 1) {
        enough(soFar);
      }
    });
    question.all = all;
    const answer = await this.waitedFor(question, token, Promise.race([two, all]));
    if (answer && this.last === question) {
      question.shown = answer;
      question.at = answer.length > 1 ? 1 : 0;
      void all.then((whole) => this.last === question && setContext('cosec.moreCandidates', (whole?.length ?? 0) > answer.length));
      void setContext('cosec.moreCandidates', answer.length > 1);
    }
    return answer;
  }

  private begin(place: Place, params: InlineCompletionParams): Question {
    this.forget();
    // The one before needs no cancellation: for the server a newer question takes its place, or goes on with its work.
    const question: Question = { ...place, params, giveUp: new vscode.CancellationTokenSource(), shown: [], at: 0, spent: false };
    this.last = question;
    return question;
  }

  private forget(): void {
    if (this.last?.spent) {
      void setContext('cosec.moreCandidates', false);
    }
    this.last = undefined;
  }

  /** The same question, for all of its answer; shown if it is more than what is shown. */
  private async showTheRest(question: Question): Promise<void> {
    // Before anything is shown, so that Escape means this extension from the first frame on.
    void setContext('cosec.writing', true);
    const answer = await this.askForAll(question, 2);
    void setContext('cosec.writing', false);
    if (this.last !== question || !this.isHere(question)) {
      return;
    }
    if (answer && answer.length > 0 && !equal(answer, question.shown)) {
      // What the user has asked for by hand VS Code would not ask again, were it not hidden first.
      await this.handOver(question, answer, question.spent ? ['hide', 'trigger'] : ['trigger']);
      question.spent = true;
    }
    if (question.spent && this.last === question) {
      void setContext('cosec.moreCandidates', true);
    }
  }

  private async handOver(question: Question, answer: Answer, commands: string[]): Promise<void> {
    const handingOver = { question, answer };
    this.handingOver = handingOver;
    question.shown = answer;
    try {
      // Sent together, so that what the first one hides is back within a frame or two.
      await Promise.all(commands.map((command) => vscode.commands.executeCommand(`editor.action.inlineSuggest.${command}`)));
    } finally {
      if (this.handingOver === handingOver) {
        this.handingOver = undefined;
      }
    }
  }

  /** With a token for partial results, so that the answer comes once it is complete. */
  private askForAll(question: Question, triggerKind: 1 | 2, soFar: (items: Answer) => void = () => undefined): Promise<Answer | undefined> {
    const partialResultToken = randomUUID();
    const listening = this.client.onProgress(PARTIAL, partialResultToken, (value) => {
      soFar(items(value));
    });
    const params = { ...question.params, context: { ...question.params.context, triggerKind }, partialResultToken };
    return this.send(params, question.giveUp.token).finally(() => {
      listening.dispose();
    });
  }

  private async send(params: InlineCompletionParams, token: vscode.CancellationToken): Promise<Answer | undefined> {
    try {
      return items(await this.client.sendRequest(InlineCompletionRequest.type, params, token));
    } catch {
      return undefined; // superseded, given up, or the server is gone: whoever looks after the server says that
    }
  }

  /** What VS Code stops waiting for is given up a little later: mostly a key was typed, and the server goes on with its work. */
  private async waitedFor(question: Question, token: vscode.CancellationToken, answer: Promise<Answer | undefined>): Promise<Answer | undefined> {
    const listening = token.onCancellationRequested(() => {
      setTimeout(() => {
        if (this.last === question && question.document.version === question.version) {
          question.giveUp.cancel();
        }
      }, GRACE_MS);
    });
    try {
      return await answer;
    } finally {
      listening.dispose();
    }
  }

  private cursorMoved(event: vscode.TextEditorSelectionChangeEvent): void {
    const question = this.last;
    if (question && event.textEditor.document === question.document && question.document.version === question.version) {
      if (!event.selections.some((selection) => selection.active.isEqual(question.position))) {
        question.giveUp.cancel();
      }
    }
  }

  private isHere(question: Question): boolean {
    const editor = vscode.window.activeTextEditor;
    return (
      editor?.document === question.document &&
      question.document.version === question.version &&
      editor.selection.isEmpty &&
      editor.selection.active.isEqual(question.position) &&
      vscode.window.state.focused
    );
  }

  private async convert(answer: Answer, token: vscode.CancellationToken): Promise<vscode.InlineCompletionItem[]> {
    const result = await this.client.protocol2CodeConverter.asInlineCompletionResult(answer, token);
    return Array.isArray(result) ? result : [];
  }
}

const PARTIAL = new ProgressType<InlineCompletionList | Answer | null>();

function items(answer: InlineCompletionList | Answer | null): Answer {
  return answer === null ? [] : Array.isArray(answer) ? answer : answer.items;
}

function same(one: Place, other: Place): boolean {
  return one.document === other.document && one.version === other.version && one.position.isEqual(other.position) && one.selected === other.selected;
}

function equal(one: Answer, other: Answer): boolean {
  const key = (answer: Answer) => JSON.stringify(answer.map((item) => [item.insertText, item.range]));
  return key(one) === key(other);
}

function setContext(key: string, value: boolean): Thenable<unknown> {
  return vscode.commands.executeCommand('setContext', key, value);
}
