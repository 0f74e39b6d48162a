import { execFile } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { findTool } from '../../test/support/tools.ts';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import type { PublishedImage } from '../world.ts';
import type { Verdict } from './verdict.ts';

const run = promisify(execFile);
const withinMs = 60_000;

export interface RealClientDeps {
  readonly world: readonly PublishedImage[];
  readonly mirror: MirrorProcess;
  readonly dice: Dice;
  readonly ledger: Ledger;
  /** The folder for what they pull. */
  readonly folder: string;
}

/** A client program, run as its users run it. */
interface RealClient {
  readonly name: string;
  readonly pauseMs: number;
  /** Pulls and verifies. @returns the digest of the pulled image. @throws if it fails. */
  pull(image: string, place: string): Promise<string>;
}

/** Runs the clients that this machine has, each in its own loop, until the signal aborts. */
export async function runRealClients(deps: RealClientDeps, signal: AbortSignal): Promise<readonly string[]> {
  const clients = [crane(), skopeo(), podman(deps.folder)].filter((client) => client !== undefined);
  await Promise.all(clients.map((client) => runClient(client, deps, signal)));
  return clients.map(({ name }) => name);
}

async function runClient(client: RealClient, deps: RealClientDeps, signal: AbortSignal): Promise<void> {
  const { world, mirror, ledger, folder } = deps;
  const dice = deps.dice.of(client.name);
  const images = world.filter(({ kind }) => kind === 'real');
  const place = join(folder, client.name);
  while (!signal.aborted) {
    const { repository, tag, image } = dice.pick(images);
    await rm(place, { recursive: true, force: true });
    await mkdir(place, { recursive: true });
    ledger.count('pulls', client.name);
    const fromMs = performance.now();
    const pull = await outcomeOf(client.pull(`${mirror.host}/${repository}:${tag}`, place));
    const times = [fromMs, performance.now()] as const;
    const verdict = verdictOnPull(pull, {
      digest: image.manifest.digest,
      wasAbsent: mirror.wasAbsent(...times),
      wasStarved: mirror.wasStarved(...times),
    });
    ledger.count('real clients', `${client.name}: ${verdict.word === 'failed' ? verdict.how : verdict.word}`);
    if (verdict.word === 'violation') ledger.violate(`${client.name} pulled ${repository}:${tag}: ${verdict.why}`);
    await sleep(client.pauseMs, undefined, { signal }).catch(() => {}); // The loop ends.
  }
}

/** The digest of the pulled image, or the reason of the failure. */
export type Pulled = { readonly digest: string } | { readonly failure: string };

async function outcomeOf(pull: Promise<string>): Promise<Pulled> {
  try {
    return { digest: await pull };
  } catch (cause) {
    return { failure: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** Checks the pull of an image that is cached, kept and undamaged. It may fail only if the mirror was down or out of descriptors. Pure. */
export function verdictOnPull(
  pulled: Pulled,
  {
    digest,
    wasAbsent,
    wasStarved,
  }: { readonly digest: Digest; readonly wasAbsent: boolean; readonly wasStarved: boolean },
): Verdict {
  if ('digest' in pulled)
    return pulled.digest === digest ? { word: 'right' } : { word: 'violation', why: `it has ${pulled.digest}` };
  if (wasAbsent) return { word: 'failed', how: 'failed, as the mirror was killed' };
  if (wasStarved) return { word: 'failed', how: 'failed, as the mirror had no descriptors' };
  return { word: 'violation', why: `it failed: ${pulled.failure.slice(0, 500)}` };
}

function crane(): RealClient | undefined {
  const program = findTool('crane');
  if (program === undefined) return undefined;
  return {
    name: 'crane',
    pauseMs: 300,
    pull: async (image, place) => {
      await run(program, ['pull', '--format', 'oci', image, place], { timeout: withinMs });
      const { stdout } = await run(program, ['manifest', image], { timeout: withinMs });
      return digestOf(Buffer.from(stdout.trimEnd()));
    },
  };
}

function skopeo(): RealClient | undefined {
  const program = findTool('skopeo');
  if (program === undefined) return undefined;
  return {
    name: 'skopeo',
    pauseMs: 500,
    pull: async (image, place) => {
      const settings = ['--insecure-policy', '--tmpdir', place];
      const target = `dir:${join(place, 'pulled')}`;
      await run(program, [...settings, 'copy', '--src-tls-verify=false', `docker://${image}`, target], {
        timeout: withinMs,
      });
      return digestOf(await readFile(join(place, 'pulled', 'manifest.json')));
    },
  };
}

function podman(folder: string): RealClient | undefined {
  const program = findTool('podman');
  if (program === undefined) return undefined;
  const store = ['--root', join(folder, 'root'), '--runroot', join(folder, 'run'), '--storage-driver', 'vfs'];
  return {
    name: 'podman',
    pauseMs: 4_000,
    pull: async (image) => {
      await run(program, [...store, 'rmi', '--all', '--force'], { timeout: withinMs });
      await run(program, [...store, 'pull', '--tls-verify=false', image], { timeout: withinMs });
      const { stdout } = await run(program, [...store, 'images', '--no-trunc', '--format', '{{.Digest}}', image]);
      return stdout.trim();
    },
  };
}
