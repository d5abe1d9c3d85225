// Makes the .vsix: for every platform without a server, or for one with the server inside.
// Usage: npm run package -- [--target linux-x64 --server PATH] [--out FILE]
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const { values } = parseArgs({ options: { target: { type: 'string' }, server: { type: 'string' }, out: { type: 'string' } } });
if ((values.target === undefined) !== (values.server === undefined)) {
  throw new Error('--target and --server go together');
}

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const name = `${manifest.name}-${values.target ? `${values.target}-` : ''}${manifest.version}.vsix`;
const out = path.resolve(values.out ?? path.join(root, 'dist', name));
execFileSync(process.execPath, ['scripts/build.mjs', '--minify'], { cwd: root, stdio: 'inherit' });

const stage = mkdtempSync(path.join(tmpdir(), 'cosec-vsix-'));
try {
  for (const each of ['media', 'images', 'walkthrough', 'README.md', 'CHANGELOG.md', 'LICENSE']) {
    cpSync(path.join(root, each), path.join(stage, each), { recursive: true });
  }
  mkdirSync(path.join(stage, 'dist'));
  copyFileSync(path.join(root, 'dist', 'extension.js'), path.join(stage, 'dist', 'extension.js'));
  const { scripts: _scripts, devDependencies: _devDependencies, private: _private, ...published } = manifest;
  writeFileSync(path.join(stage, 'package.json'), JSON.stringify(published, null, 2));
  if (values.server) {
    const program = path.join(stage, 'server', values.target.startsWith('win32') ? 'cosec-ls.exe' : 'cosec-ls');
    mkdirSync(path.dirname(program));
    copyFileSync(values.server, program);
    chmodSync(program, 0o755);
  }
  mkdirSync(path.dirname(out), { recursive: true });
  const vsce = path.join(root, 'node_modules', '@vscode', 'vsce', 'vsce');
  const target = values.target ? ['--target', values.target] : [];
  const options = ['--no-dependencies', '--allow-missing-repository', '--no-rewrite-relative-links', '--out', out];
  execFileSync(process.execPath, [vsce, 'package', ...target, ...options], { cwd: stage, stdio: 'inherit' });
} finally {
  rmSync(stage, { recursive: true, force: true });
}
