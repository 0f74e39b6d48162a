import { Worker } from 'node:worker_threads';
import type { Owner } from '../../support/owner.ts';
import type { BlobSeen } from './client.ts';
import type { HerdOrder, HerdPlan, HerdReport } from './herd-thread.ts';

/** What the clients saw. */
export interface HerdSeen {
  readonly seen: readonly BlobSeen[];
  readonly failures: readonly string[];
}

/** Clients that pull an image at once through a balancer, in a thread of their own. */
export interface Herd {
  /** All have asked for the layer. */
  readonly asked: Promise<unknown>;
  readonly done: Promise<HerdSeen>;
  /** Resolves when each client has received so much of the layer, or the pulls have ended. */
  received(bytes: number): Promise<unknown>;
  /** No client reaches this port any more: those connected to it are cut. */
  takeOut(port: number): void;
}

export function startHerd(plan: HerdPlan, owner: Owner): Herd {
  const worker = new Worker(new URL('herd-thread.ts', import.meta.url), { workerData: plan });
  owner(async () => void (await worker.terminate()));
  const [asked, done] = [Promise.withResolvers<void>(), Promise.withResolvers<HerdSeen>()];
  const waiting = new Set<(bytes: number) => void>();
  worker.on('message', (report: HerdReport) => {
    if (report.kind === 'asked') asked.resolve();
    else if (report.kind === 'done') done.resolve(report);
    else for (const look of waiting) look(report.bytes);
  });
  worker.once('error', done.reject);
  const received = (wanted: number): Promise<unknown> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    waiting.add((bytes) => {
      if (bytes >= wanted) resolve();
    });
    return Promise.race([promise, done.promise]);
  };
  const order = (message: HerdOrder): void => worker.postMessage(message);
  return { asked: asked.promise, done: done.promise, received, takeOut: (port) => order({ takeOut: port }) };
}
