// Where the server is looked for, in which order, and what is said of a file that is none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { locate } from '../src/locate';
import type { Machine } from '../src/locate';

function machine(files: Record<string, 'directory' | 'not executable' | 'program'>, platform: NodeJS.Platform = 'linux', PATH = '/usr/bin:/opt/bin'): Machine {
  return { platform, home: platform === 'win32' ? 'C:\\Users\\u' : '/home/u', env: { PATH, TOOLS: '/tools' }, kind: (file) => files[file] ?? 'absent' };
}

test('the setting wins over everything else', () => {
  const files = { '/mine/cosec-ls': 'program', '/ext/server/cosec-ls': 'program', '/usr/bin/cosec-ls': 'program' } as const;
  assert.deepEqual(locate(machine(files), '/mine/cosec-ls', '/ext'), { program: '/mine/cosec-ls', from: 'setting' });
});

test('a setting that leads nowhere is said, and not passed over', () => {
  const files = { '/ext/server/cosec-ls': 'program' } as const;
  assert.deepEqual(locate(machine(files), '/mine/cosec-ls', '/ext'), { problem: 'setting', file: '/mine/cosec-ls' });
  assert.deepEqual(locate(machine({ '/mine': 'directory' }), '/mine', '/ext'), { problem: 'setting', file: '/mine' });
});

test('a file that cannot be executed is named, from the setting and from the package', () => {
  assert.deepEqual(locate(machine({ '/mine/x': 'not executable' }), '/mine/x', '/ext'), { problem: 'not executable', file: '/mine/x' });
  assert.deepEqual(locate(machine({ '/ext/server/cosec-ls': 'not executable' }), '', '/ext'), { problem: 'not executable', file: '/ext/server/cosec-ls' });
});

test('home, variables and bare names in the setting are understood', () => {
  assert.deepEqual(locate(machine({ '/home/u/bin/c': 'program' }), '~/bin/c', '/ext'), { program: '/home/u/bin/c', from: 'setting' });
  assert.deepEqual(locate(machine({ '/home/u/c': 'program' }), '${userHome}/c', '/ext'), { program: '/home/u/c', from: 'setting' });
  assert.deepEqual(locate(machine({ '/tools/c': 'program' }), '${env:TOOLS}/c', '/ext'), { program: '/tools/c', from: 'setting' });
  assert.deepEqual(locate(machine({ '/opt/bin/other': 'program' }), 'other', '/ext'), { program: '/opt/bin/other', from: 'setting' });
});

test('then the package, the PATH in order, and the folders of installers', () => {
  assert.deepEqual(locate(machine({ '/ext/server/cosec-ls': 'program', '/usr/bin/cosec-ls': 'program' }), null, '/ext'), { program: '/ext/server/cosec-ls', from: 'package' });
  assert.deepEqual(locate(machine({ '/opt/bin/cosec-ls': 'program', '/home/u/.cargo/bin/cosec-ls': 'program' }), undefined, '/ext'), { program: '/opt/bin/cosec-ls', from: 'path' });
  assert.deepEqual(locate(machine({ '/home/u/.cargo/bin/cosec-ls': 'program' }), ' ', '/ext'), { program: '/home/u/.cargo/bin/cosec-ls', from: 'path' });
  assert.deepEqual(locate(machine({ '/home/u/.local/bin/cosec-ls': 'program' }), null, '/ext'), { program: '/home/u/.local/bin/cosec-ls', from: 'path' });
  assert.deepEqual(locate(machine({}, 'linux', ''), null, '/ext'), { problem: 'missing' });
});

test('on Windows the program ends in .exe and the PATH is split at semicolons', () => {
  const files = { 'D:\\b\\cosec-ls.exe': 'program' } as const;
  assert.deepEqual(locate(machine(files, 'win32', 'C:\\a;D:\\b'), null, 'C:\\ext'), { program: 'D:\\b\\cosec-ls.exe', from: 'path' });
  assert.deepEqual(locate(machine(files, 'win32', 'D:\\b'), 'cosec-ls', 'C:\\ext'), { program: 'D:\\b\\cosec-ls.exe', from: 'setting' });
});
