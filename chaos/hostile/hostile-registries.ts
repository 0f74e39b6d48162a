import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';

const hostileNames = ['silent.test', 'trickling.test', 'hostile.test', 'oversized.test'] as const;
export type HostileName = (typeof hostileNames)[number];

export interface HostileRegistry {
  readonly name: HostileName;
  readonly url: string;
}

/** Registries that always misbehave, in a process of their own. It must be disposed. */
export interface HostileRegistries extends AsyncDisposable {
  readonly registries: readonly HostileRegistry[];
}

/** @param onFault called with the kind of fault, for each request that was answered wrongly. */
export async function startHostile({
  seed,
  onFault,
}: {
  readonly seed: string;
  readonly onFault: (what: string) => void;
}): Promise<HostileRegistries> {
  const ports: [HostileName, number][] = [];
  for (const name of hostileNames) ports.push([name, await freePort()]);
  const child = fork(join(import.meta.dirname, 'hostile-process.ts'), [seed, JSON.stringify(ports)]);
  const ready = Promise.withResolvers<void>();
  child.on('message', (message: unknown) => {
    if (message === 'ready') ready.resolve();
    else if (Array.isArray(message)) for (const what of message) onFault(String(what));
  });
  child.once('exit', (code, signal) => ready.reject(new Error(`the hostile registries ended with ${code ?? signal}`)));
  await ready.promise;
  return {
    registries: ports.map(([name, port]) => ({ name, url: `http://127.0.0.1:${port}` })),
    [Symbol.asyncDispose]: () => end(child),
  };
}

/** Parses the argument that {@link startHostile} passes to its process. @throws Error if it is invalid. */
export function portsIn(text: string): readonly (readonly [HostileName, number])[] {
  const ports: unknown = JSON.parse(text);
  if (!Array.isArray(ports)) throw new Error(`expected a list of names and ports, got ${text}`);
  return ports.map((entry: unknown) => {
    const [name, port]: readonly unknown[] = Array.isArray(entry) ? entry : [];
    const known = hostileNames.find((candidate) => candidate === name);
    if (known === undefined || typeof port !== 'number') throw new Error(`expected a name and a port in ${text}`);
    return [known, port];
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
