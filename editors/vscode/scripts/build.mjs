// Bundles the extension into dist/extension.js; with --tests the tests into dist/test.
import { readdirSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const common = { bundle: true, platform: 'node', target: 'node20', format: 'cjs', logLevel: 'warning' };
if (process.argv.includes('--tests')) {
  rmSync('dist/test', { recursive: true, force: true });
  const tests = readdirSync('test').filter((name) => name.endsWith('.test.ts'));
  await build({ ...common, entryPoints: tests.map((name) => `test/${name}`), outdir: 'dist/test', format: 'esm', outExtension: { '.js': '.mjs' }, external: ['../../scripts/*'], sourcemap: 'inline' });
} else {
  const minify = process.argv.includes('--minify');
  await build({ ...common, entryPoints: ['src/extension.ts'], outfile: 'dist/extension.js', external: ['vscode'], minify, sourcemap: minify ? false : 'inline' });
}
