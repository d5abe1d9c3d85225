/** Other extensions that suggest inline. VS Code does not say which do, so the well-known ones are looked for by name. */
import * as vscode from 'vscode';

const KNOWN = [
  'github.copilot',
  'supermaven.supermaven',
  'codeium.codeium',
  'tabnine.tabnine-vscode',
  'continue.continue',
  'tabbyml.vscode-tabby',
  'ggml-org.llama-vscode',
  'huggingface.huggingface-vscode',
  'amazonwebservices.amazon-q-vscode',
  'sourcegraph.cody-ai',
  'gitlab.gitlab-workflow',
];

/** One sentence, or none. VS Code shows whichever answers first, so a user may wonder whose text it is. */
export function otherCompletions(): string[] {
  const others = vscode.extensions.all
    .filter((extension) => KNOWN.includes(extension.id.toLowerCase()))
    .map((extension) => (extension.packageJSON as { displayName?: string }).displayName ?? extension.id);
  return others.length === 0 ? [] : [`${others.join(', ')} may suggest here as well: VS Code shows what comes first`];
}
