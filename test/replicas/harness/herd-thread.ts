/** A thread of {@link Herd}: the balancer and all clients, so that the upstream in the main thread is as fast as one of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import { freePort } from '../../support/free-port.ts';
import { type BlobSeen, pullByTag } from './client.ts';
import { TcpProxy } from './tcp-proxy.ts';

export interface HerdPlan {
  readonly repository: string;
  readonly tag: string;
  readonly clients: number;
  /** The ports that the balancer gives connections to, in turn. */
  readonly ports: readonly number[];
}

export type HerdReport =
  /** All clients have asked for the layer. */
  | { readonly kind: 'asked' }
  /** What each client has received of it, at least. */
  | { readonly kind: 'received'; readonly bytes: number }
  | { readonly kind: 'done'; readonly seen: readonly BlobSeen[]; readonly failures: readonly string[] };

/** No connection goes to this port any more; those it has are cut. */
export interface HerdOrder {
  readonly takeOut: number;
}

const reportEveryMs = 20;

async function run({ ports, clients, repository, tag }: HerdPlan): Promise<void> {
  const report = (message: HerdReport): void => parentPort?.postMessage(message);
  const balancer = new TcpProxy(await freePort(), ports);
  await balancer.start();
  parentPort?.on('message', ({ takeOut }: HerdOrder) => balancer.takeOut(takeOut));
  const pulls = Array.from({ length: clients }, () => pullByTag({ url: balancer.url, repository, tag }));
  void Promise.all(pulls.map(({ asked }) => asked)).then(() => report({ kind: 'asked' }));
  const timer = setInterval(() => {
    report({ kind: 'received', bytes: Math.min(...pulls.map(({ receivedBytes }) => receivedBytes)) });
  }, reportEveryMs);
  const results = await Promise.allSettled(pulls.map(({ done }) => done));
  clearInterval(timer);
  report({
    kind: 'done',
    seen: results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
    failures: results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
  });
}

const plan: HerdPlan = workerData;
void run(plan);
