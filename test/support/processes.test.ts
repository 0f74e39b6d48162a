import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { run, StartedProcess, startProcess } from './processes.ts';

test('a program is awaited until it is ready, and its whole group ends with it', async () => {
  const shell = startProcess('sh', ['-c', 'sleep 300 & echo ready $!; wait']);
  await shell.waitUntil(({ stdout }) => stdout.includes('ready'));
  const grandchild = Number(shell.stdout.split(' ')[1]);
  await shell.stop();
  expect(commandLineOf(grandchild)).toBe('');
});

test('a program that ends before it is ready fails with its output', async () => {
  const shell = startProcess('sh', ['-c', 'echo no such thing >&2; exit 3']);
  await expect(shell.waitUntil(() => false)).rejects.toThrow('no such thing');
});

test('a program that ignores SIGTERM is killed', async () => {
  const shell = new StartedProcess('sh', ['-c', 'trap "" TERM; echo ready; while :; do sleep 300; done']);
  await shell.waitUntil(({ stdout }) => stdout.includes('ready'));
  expect(await shell.stop({ graceMs: 50 })).toEqual({ code: null, signal: 'SIGKILL' });
});

test('a program that fails throws its output', async () => {
  await expect(run('sh', ['-c', 'echo broken >&2; exit 1'])).rejects.toThrow('broken');
  await expect(run('no-such-program', [])).rejects.toThrow('no-such-program');
});

/** Empty for a process that has ended, whether or not its parent has noticed yet. */
function commandLineOf(pid: number): string {
  const file = `/proc/${pid}/cmdline`;
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
