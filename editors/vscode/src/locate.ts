/** Finds the server's program: the setting, the one in the package, the PATH, and where its installers put it. */
import * as path from 'node:path';

/** What a machine is asked while looking; tests answer themselves. */
export interface Machine {
  platform: NodeJS.Platform;
  home: string;
  env: Record<string, string | undefined>;
  /** What lies at a path: nothing, something that cannot be run, or a program. */
  kind(file: string): 'absent' | 'directory' | 'not executable' | 'program';
}

export type Located =
  | { program: string; from: 'setting' | 'package' | 'path' }
  | { problem: 'setting' | 'not executable' | 'missing'; file?: string };

/** Looks in the order in which a user expects it: what was set wins and is never passed over in silence. */
export function locate(machine: Machine, setting: string | null | undefined, extensionFolder: string): Located {
  const paths = machine.platform === 'win32' ? path.win32 : path.posix;
  const name = machine.platform === 'win32' ? 'cosec-ls.exe' : 'cosec-ls';
  const wanted = setting?.trim();
  if (wanted) {
    const file = expand(wanted, machine, paths);
    if (!paths.isAbsolute(file)) {
      const onPath = search(file, machine, paths);
      return onPath ? { program: onPath, from: 'setting' } : { problem: 'setting', file };
    }
    switch (machine.kind(file)) {
      case 'program':
        return { program: file, from: 'setting' };
      case 'not executable':
        return { problem: 'not executable', file };
      default:
        return { problem: 'setting', file };
    }
  }
  const bundled = paths.join(extensionFolder, 'server', name);
  switch (machine.kind(bundled)) {
    case 'program':
      return { program: bundled, from: 'package' };
    case 'not executable':
      return { problem: 'not executable', file: bundled };
    default:
  }
  const program = search(name, machine, paths);
  return program ? { program, from: 'path' } : { problem: 'missing' };
}

function expand(file: string, machine: Machine, paths: path.PlatformPath): string {
  if (file === '~' || file.startsWith('~/') || file.startsWith('~\\')) {
    return paths.join(machine.home, file.slice(1));
  }
  return file.replace(/\$\{env:([^}]+)\}/g, (_, name: string) => machine.env[name] ?? '').replaceAll('${userHome}', machine.home);
}

/** A name on the PATH. Editors that a desktop starts lack what a shell adds to it, so two known folders come behind. */
function search(name: string, machine: Machine, paths: path.PlatformPath): string | undefined {
  const names = machine.platform === 'win32' && !name.toLowerCase().endsWith('.exe') ? [`${name}.exe`] : [name];
  const onPath = (machine.env['PATH'] ?? machine.env['Path'] ?? '').split(paths.delimiter).filter((folder) => folder !== '');
  const folders = [...onPath, paths.join(machine.home, '.cargo', 'bin'), paths.join(machine.home, '.local', 'bin')];
  for (const folder of folders) {
    for (const candidate of names) {
      const file = paths.join(folder, candidate);
      if (machine.kind(file) === 'program') {
        return file;
      }
    }
  }
  return undefined;
}
