import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { digestOf } from '../../../src/oci/digest.ts';
import { type Seen, sendJson, serve } from '../upstream/serve.ts';
import type { Sibling } from '../../../src/cluster/sibling-client.ts';
import { Siblings, type SiblingsDeps } from '../../../src/cluster/siblings.ts';
import { MemoryBudget } from '../../../src/mirror/concurrency/memory-budget.ts';
import type { OtherCache } from '../../../src/mirror/ports/other-caches.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { thisTest } from '../../support/owner.ts';
import { RecordingObserver } from '../upstream/recording-observer.ts';

export const secret = 'correct horse battery staple, twice over';
export const app = { upstream: 'docker.io', repository: parseRepository('library/app') };
export const latest = parseTag('latest');
export const waiting = { signal: new AbortController().signal };

/** The siblings at these addresses, as one replica sees them. */
export function startSiblings(addresses: readonly string[], more: Partial<SiblingsDeps> = {}) {
  const observer = new RecordingObserver();
  const clock = new ManualClock();
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * 1024 });
  const siblings = new Siblings({ trust: { secret }, clock, observer, memory, ...more });
  thisTest(() => siblings.close());
  siblings.follow(addresses);
  const at = (address: string): Sibling => {
    const sibling = siblings.at(address);
    if (!sibling) throw new Error(`${address} is no sibling`);
    return sibling;
  };
  return { siblings, at, observer, clock, memory };
}

export const blob = Buffer.from('0123456789');
export const digest = digestOf(blob);
export const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** Quick to give up, so that a silent sibling does not take a test's time. */
export const timeouts = { connectMs: 1_000, headersMs: 200, idleMs: 200, toldForMs: 500 };

/** A sibling that answers what the test says, after it has accepted the secret. */
export async function siblingThat(answer: (seen: Seen, response: ServerResponse) => void) {
  const server = await serve((seen, response) => {
    if (seen.url.pathname === '/v1/') sendJson(response, { replica: 'r1' });
    else answer(seen, response);
  });
  const started = startSiblings([server.url], { timeouts });
  return { ...started, server, sibling: started.at(server.url) };
}

export const openWhole = (sibling: OtherCache) => sibling.openBlob(app, digest, waiting);
export const openRest = (sibling: OtherCache) => sibling.openBlob(app, digest, { ...waiting, range: { start: 4 } });

export async function readBlob(sibling: OtherCache): Promise<Buffer> {
  const opened = await openWhole(sibling);
  if (!opened) throw new Error('the sibling has no such blob');
  return buffer(opened.body);
}

/** A server that does not speak HTTP as it should. */
export async function rawServer(answer: (socket: Socket) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => answer(socket));
    thisTest(async () => void socket.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  thisTest(async () => void server.close());
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it does not listen');
  return `http://127.0.0.1:${address.port}`;
}
