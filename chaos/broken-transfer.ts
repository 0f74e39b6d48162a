import { mkdir } from 'node:fs/promises';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { FakeRegistry } from '../test/support/fake-registry.ts';
import { freePort } from '../test/support/free-port.ts';
import { randomBlob } from '../test/support/images.ts';
import { ask } from './clients/ask.ts';
import type { Dice } from './dice.ts';
import type { Ledger } from './ledger.ts';
import { MirrorProcess } from './mirror-process.ts';

const mebibytes = 256;
const cuts = 20;
/** The share of the blob that may be downloaded more than once. */
const toleratedShare = 0.01;

export interface BrokenTransfer {
  readonly mebibytes: number;
  readonly cuts: number;
  readonly seconds: number;
  /** Bytes that were downloaded more than once. */
  readonly repeatedBytes: number;
}

/** Pulls a large blob from an upstream that repeatedly cuts it at random positions. The store is on the machine's disk. */
export async function breakTransfer({
  folder,
  seed,
  dice,
  ledger,
}: {
  folder: string;
  seed: string;
  dice: Dice;
  ledger: Ledger;
}): Promise<BrokenTransfer> {
  const registry = new FakeRegistry(await freePort(), {});
  const blob = randomBlob(mebibytes * 1024 * 1024, `${seed} large`);
  const size = blob.bytes.length;
  registry.content.addBlob('library/large', blob);
  let from = 0;
  for (const position of Array.from({ length: cuts }, () => 1 + dice.below(size - 1)).toSorted((a, b) => a - b)) {
    registry.script({ times: 1 }, { cutAfterBytes: position - from });
    from = position;
  }
  await registry.start();
  const place = join(folder, 'broken-transfer');
  await mkdir(place);
  const upstreams = { 'docker.io': { url: registry.url } };
  const config = { defaultUpstream: 'docker.io', upstreams };
  const mirror = new MirrorProcess({ folder: place, dataFolder: join(place, 'data'), config });
  const agent = new Agent();
  try {
    await mirror.start();
    const answer = await ask({ origin: mirror.origin, path: `/v2/library/large/blobs/${blob.digest}`, agent });
    if (answer.digest !== blob.digest)
      ledger.violate(`a transfer cut ${cuts} times ended ${answer.end}, ${answer.digest}`);
    const received = (await mirror.metrics()).sum('layerwell_upstream_response_bytes_total', { kind: 'blob' });
    const repeatedBytes = received - size;
    if (repeatedBytes > toleratedShare * size)
      ledger.violate(`${repeatedBytes} bytes of a broken transfer were downloaded twice`);
    return { mebibytes, cuts, seconds: (answer.toMs - answer.fromMs) / 1_000, repeatedBytes };
  } finally {
    agent.destroy();
    await mirror.kill();
    await registry.stop();
  }
}
