import { Agent } from 'node:http';
import type { Agent as TlsAgent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import type { PublishedImage } from '../world.ts';
import { goodManners, type Manners, Puller } from './puller.ts';

export interface LoadDeps {
  readonly world: readonly PublishedImage[];
  readonly mirror: MirrorProcess;
  readonly dice: Dice;
  readonly ledger: Ledger;
  readonly isPinnedSafe: () => boolean;
  /** A client of the healthy registry must have the whole response within this time; by default 5 s. */
  readonly healthyWithinMs?: number | undefined;
}

export interface LoadShape {
  /** Clients that pull popular images. */
  readonly clients: number;
  /** Clients that pull only pinned images. */
  readonly pinnedClients: number;
  /** Clients that pull only from the healthy registry. */
  readonly healthyClients: number;
  /** Between two pulls of a client. */
  readonly pauseMs: number;
}

const manners: Manners = { hangsUp: 0.04, isSlow: 0.02, looksFirst: 0.3, hasPart: 0.25 };

/** Runs many clients with keep-alive connections until the signal aborts. */
export async function runLoad(deps: LoadDeps, shape: LoadShape, signal: AbortSignal): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const ordinary = Array.from({ length: shape.clients }, (_, index) => {
    const dice = deps.dice.of(`client ${index}`);
    return ordinaryClient(new Puller({ ...deps, agent, dice }), deps, { dice, pauseMs: shape.pauseMs, signal });
  });
  const pinned = Array.from({ length: shape.pinnedClients }, (_, index) => {
    const dice = deps.dice.of(`pinned client ${index}`);
    return pinnedClient(new Puller({ ...deps, agent, dice }), deps, { dice, pauseMs: shape.pauseMs, signal });
  });
  await Promise.all([...ordinary, ...pinned, runHealthyLoad(deps, shape, { agent, signal })]);
  agent.destroy();
}

/** Runs clients of the healthy registry. They pull its images in turn, so that most of what they request has been evicted. */
export async function runHealthyLoad(
  deps: LoadDeps,
  { healthyClients, pauseMs }: Pick<LoadShape, 'healthyClients' | 'pauseMs'>,
  { agent, signal }: { readonly agent: Agent | TlsAgent; readonly signal: AbortSignal },
): Promise<void> {
  const images = deps.world.filter(({ kind }) => kind === 'healthy');
  let next = 0;
  await Promise.all(
    Array.from({ length: healthyClients }, async (_, index) => {
      const dice = deps.dice.of(`healthy client ${index}`);
      const puller = new Puller({ ...deps, agent, dice });
      while (!signal.aborted) {
        const image = images[next++ % images.length];
        if (image) await puller.pull(image, { ...goodManners, looksFirst: 0.3 });
        await sleep(dice.between(0, 4 * pauseMs));
        await deps.mirror.present();
      }
    }),
  );
}

/** Pulls every image once. @returns the images that were incomplete. */
export async function pullEach(deps: LoadDeps, images: readonly PublishedImage[]): Promise<PublishedImage[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const puller = new Puller({ ...deps, agent });
  const missing: PublishedImage[] = [];
  const waiting = images.values();
  const pullNext = async (): Promise<void> => {
    for (const image of waiting) if (!(await puller.pull(image, goodManners))) missing.push(image);
  };
  await Promise.all(Array.from({ length: 8 }, pullNext));
  agent.destroy();
  return missing;
}

interface Life {
  readonly dice: Dice;
  readonly pauseMs: number;
  readonly signal: AbortSignal;
}

async function ordinaryClient(
  puller: Puller,
  { world, mirror }: LoadDeps,
  { dice, pauseMs, signal }: Life,
): Promise<void> {
  const images = world.filter(({ kind }) => kind === 'ordinary' || kind === 'doomed');
  const pinned = world.filter(({ kind }) => kind === 'pinned');
  while (!signal.aborted) {
    const chance = dice.next();
    if (chance < 0.03) await puller.pullAbsent(dice.pick(images));
    else if (chance < 0.08) await puller.pullPart(dice.pick(pinned));
    else await puller.pull(popular(images, dice), manners);
    await sleep(dice.between(0, 2 * pauseMs));
    await mirror.present();
  }
}

async function pinnedClient(
  puller: Puller,
  { world, mirror }: LoadDeps,
  { dice, pauseMs, signal }: Life,
): Promise<void> {
  const pinned = world.filter(({ kind }) => kind === 'pinned');
  while (!signal.aborted) {
    await puller.pull(dice.pick(pinned), { ...goodManners, looksFirst: 0.3 });
    await sleep(dice.between(0, 4 * pauseMs));
    await mirror.present();
  }
}

/** Zipf's law: the nth image of the list is pulled 1/n as often as the first. */
function popular(images: readonly PublishedImage[], dice: Dice): PublishedImage {
  const rank = Math.floor(Math.exp(dice.next() * Math.log(images.length + 1))) - 1;
  // A fixed shuffle spreads the popular images over the upstreams.
  const image = images[(rank * 67) % images.length];
  if (!image) throw new Error('there are no images');
  return image;
}
