import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dice } from '../chaos/dice.ts';
import type { Ledger } from '../chaos/ledger.ts';
import type { MirrorProcess } from '../chaos/mirror-process.ts';
import type { PublishedImage } from '../chaos/world.ts';

export interface StalledReaderDeps {
  readonly world: readonly PublishedImage[];
  readonly mirror: MirrorProcess;
  readonly dice: Dice;
  readonly ledger: Ledger;
}

/** Longer than `clients.idleTimeout`. */
const stallMs = 8_000;

/** Clients that request a large blob and do not read it. The mirror must disconnect them. */
export async function runStalledReaders(count: number, deps: StalledReaderDeps, signal: AbortSignal): Promise<void> {
  const large = deps.world.filter(({ kind }) => kind === 'large');
  const agent = new Agent();
  await Promise.all(
    Array.from({ length: count }, (_, index) => oneAfterAnother(deps.dice.of(`stalled reader ${index}`))),
  );
  agent.destroy();

  async function oneAfterAnother(dice: Dice): Promise<void> {
    while (!signal.aborted) {
      const published = dice.pick(large);
      const blob = published.image.blobs.toSorted((a, b) => b.bytes.length - a.bytes.length)[0];
      const namespace = published.upstream === 'docker.io' ? '' : `?ns=${published.upstream}`;
      const url = `http://${deps.mirror.host}/v2/${published.repository}/blobs/${blob?.digest}${namespace}`;
      deps.ledger.count('stalled readers', await requestAndStall(url, agent));
      await sleep(dice.between(100, 2_000), undefined, { signal }).catch(() => {}); // The loop ends.
    }
  }
}

/** @returns how the request ended. */
async function requestAndStall(url: string, agent: Agent): Promise<string> {
  const asked = request(url, { agent });
  asked.on('error', () => {}); // The mirror resets the connection: `once` below throws, or the response closes.
  asked.end();
  try {
    const [response]: IncomingMessage[] = await once(asked, 'response');
    if (!response) return 'unanswered';
    const closed = new Promise((resolve) => response.once('close', resolve));
    response.on('error', () => {}); // `close` follows.
    response.pause();
    await sleep(stallMs);
    response.resume();
    await closed;
    return response.complete ? 'fully buffered in the sockets' : 'cut by the mirror';
  } catch {
    return 'unanswered';
  }
}
