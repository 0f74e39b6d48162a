import { readFile, rm, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort, type ServerProcess, startServer } from '../server-process.ts';
import type { StorePlace } from './generate.ts';
import type { LongestTurn } from './turn-watch.ts';

export interface MirrorOptions {
  /** Relative to the repository's root. */
  readonly program: string;
  readonly upstreamUrl: string;
  readonly maxSize: string;
  /** Whether it reads all that is stored, at 20 MiB a second. */
  readonly scrubs: boolean;
  /** A command that keeps it on some processors. */
  readonly pinnedBy: readonly string[];
  readonly signal: AbortSignal;
}

/** A mirror in a process of its own. `readyAfterMs` is the time until it answered a client. */
export interface StartedMirror extends ServerProcess {
  readonly url: string;
  readonly managementUrl: string;
  /** Runs `work`. @returns the longest turn of the mirror's event loop meanwhile. */
  longestTurn(work: () => Promise<void>): Promise<LongestTurn>;
}

const root = join(import.meta.dirname, '../..');

/** Starts a mirror on a store. */
export async function startMirror(place: StorePlace, options: MirrorOptions): Promise<StartedMirror> {
  const [port, managementPort] = [await freePort(), await freePort()];
  const folder = dirname(place.indexFile);
  const config = join(folder, 'mirror.config.json');
  const turnFile = join(folder, 'longest-turn.json');
  await writeFile(config, JSON.stringify(configOf(place, { ...options, port, managementPort })));
  const server = await startServer(
    {
      program: process.execPath,
      pinnedBy: options.pinnedBy,
      args: ['--import', await turnWatch(folder), join(root, options.program), 'serve', '--config', config],
      env: { PATH: process.env['PATH'] ?? '', NODE_ENV: 'production', LONGEST_TURN_FILE: turnFile },
      logFile: join(folder, 'log'),
      readyUrl: `http://127.0.0.1:${port}/v2/`,
    },
    options.signal,
  );
  const url = `http://127.0.0.1:${port}`;
  const managementUrl = `http://127.0.0.1:${managementPort}`;
  return { ...server, url, managementUrl, longestTurn: (work) => longestTurnOf(server.pid, turnFile, work) };
}

/** As JavaScript: the part of Node that reads TypeScript would count as memory of the mirror. */
async function turnWatch(folder: string): Promise<string> {
  const file = join(folder, 'turn-watch.mjs');
  const source = await readFile(join(import.meta.dirname, 'turn-watch.ts'), 'utf8');
  await writeFile(file, stripTypeScriptTypes(source));
  return file;
}

function configOf(
  { store, indexFile }: StorePlace,
  { port, managementPort, ...options }: MirrorOptions & { readonly port: number; readonly managementPort: number },
): object {
  return {
    listen: { host: '127.0.0.1', port },
    management: { host: '127.0.0.1', port: managementPort },
    storage: {
      path: store,
      maxSize: options.maxSize,
      maxFiles: 1_000_000_000,
      unusedFor: 'forever',
      scrubEvery: options.scrubs ? '7d' : 'forever',
    },
    index: { driver: 'sqlite', path: indexFile },
    freshness: { tag: 'forever' },
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: options.upstreamUrl } },
  };
}

async function longestTurnOf(pid: number, file: string, work: () => Promise<void>): Promise<LongestTurn> {
  await rm(file, { force: true });
  process.kill(pid, 'SIGUSR2');
  await work();
  process.kill(pid, 'SIGUSR2');
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text !== '') return Object(JSON.parse(text));
    await delay(10);
  }
}
