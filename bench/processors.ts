import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import type { Tools } from './tools.ts';

const run = promisify(execFile);

/** Which processors the servers have, apart from the clients and the upstream. */
export interface Processors {
  /** A command before a server's program. */
  readonly forServers: readonly string[];
  /** For the report. */
  readonly fact: string;
}

/**
 * Moves this process, with the clients and the upstream that it starts from now on, away from the first processor, which the servers
 * get. Undefined where that is not possible: with one processor, or without taskset.
 */
export async function takeApart({ taskset }: Pick<Tools, 'taskset'>): Promise<Processors | undefined> {
  const count = availableParallelism();
  if (taskset === undefined || count < 2) return undefined;
  const ours = count === 2 ? '1' : `1-${count - 1}`;
  await run(taskset, ['--all-tasks', '--pid', '--cpu-list', ours, String(process.pid)]);
  return {
    forServers: [taskset, '--cpu-list', '0'],
    fact: `each server on processor 0, the clients and the upstream on ${ours}`,
  };
}
