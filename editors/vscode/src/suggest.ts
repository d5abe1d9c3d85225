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
  /** Everything that the server has for this place; set where more is asked for than was shown first. */
  whole?: Promise<Answer | undefined>;
  /** VS Code will not ask again at this place by itself. */
  spent: boolean;
  /** Several candidates were asked for. */
  candidates: boolean;
}

export class Suggestions implements vscode.Disposable {
  private last: Question | undefined;
  /** The question that VS Code is being told to ask again, and what it gets. */
  private handingOver: { question: Question; answer: Answer } | undefined;
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
    const byHand = context.triggerKind === vscode.InlineCompletionTriggerKind.Invoke && !handedOver;
    const answer = byHand ? await this.askByHand(place, params, token) : await this.askTyped(place, params, token);
    return answer && this.convert(answer, token);
  }

  /** Where VS Code has spent its one question by hand: asks for the other candidates, and steps among them. */
  async cycle(step: 'showNext' | 'showPrevious'): Promise<void> {
    const question = this.last;
    if (!question || !this.isHere(question)) {
      await vscode.commands.executeCommand(`editor.action.inlineSuggest.${step}`);
      return;
    }
    if (!question.candidates) {
      question.candidates = true;
      question.whole = this.askForAll(question, 1);
    }
    const answer = await question.whole;
    if (this.last !== question || !this.isHere(question)) {
      return;
    }
    void setContext('cosec.moreCandidates', false);
    if (!answer || answer.length < 2) {
      return;
    }
    await this.handOver(question, answer, ['hide', 'trigger', step]);
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
      question.spent = true;
      await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
    }
  }

  private async askTyped(place: Place, params: InlineCompletionParams, token: vscode.CancellationToken): Promise<Answer | undefined> {
    const question = this.begin(place, { ...params, context: { ...params.context, triggerKind: 2 } });
    const answer = await this.waitedFor(question, token, this.send(question.params, question.giveUp.token));
    if (answer && answer.length > 0 && this.last === question) {
      question.shown = answer;
      void this.showTheRest(question);
    }
    return answer;
  }

  /** All candidates where something is shown already (that is what the keys for the next one ask for), else the first. */
  private async askByHand(place: Place, params: InlineCompletionParams, token: vscode.CancellationToken): Promise<Answer | undefined> {
    const more = this.last !== undefined && same(this.last, place) && this.last.shown.length > 0;
    const question = this.begin(place, { ...params, context: { ...params.context, triggerKind: 1 } });
    question.candidates = true;
    question.spent = true;
    let first: (answer: Answer) => void = () => undefined;
    const firstWhole = new Promise<Answer>((resolve) => (first = resolve));
    const whole = this.askForAll(question, 1, (soFar) => {
      if (!more && soFar.length > 1) {
        first(soFar.slice(0, 1)); // a second has begun, so the first is whole
      }
    });
    question.whole = whole;
    const answer = await this.waitedFor(question, token, Promise.race([whole, firstWhole]));
    question.shown = answer ?? [];
    void setContext('cosec.moreCandidates', !more && (answer?.length ?? 0) > 0);
    return answer;
  }

  private begin(place: Place, params: InlineCompletionParams): Question {
    this.forget();
    // The one before needs no cancellation: for the server a newer question takes its place, or goes on with its work.
    const question: Question = { ...place, params, giveUp: new vscode.CancellationTokenSource(), shown: [], spent: false, candidates: false };
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
    const whole = this.askForAll(question, 2);
    question.whole = whole;
    const writing = setTimeout(() => void setContext('cosec.writing', true), 30);
    const answer = await whole;
    clearTimeout(writing);
    void setContext('cosec.writing', false);
    if (!answer || answer.length === 0 || equal(answer, question.shown) || this.last !== question || !this.isHere(question)) {
      return;
    }
    question.shown = answer;
    question.spent = true;
    await this.handOver(question, answer, ['trigger']);
    void setContext('cosec.moreCandidates', this.last === question);
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
