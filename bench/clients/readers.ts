import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Digest } from '../../src/oci/digest.ts';
import type { ReaderJob, ReaderOutcome } from './reader-thread.ts';

export interface Pull {
  /** Where all clients pull; several: they take turns. */
  readonly url: string | readonly string[];
  readonly clients: number;
  readonly signal: AbortSignal;
}

/** Clients that pull blobs, spread over one thread per processor. The same clients pull from all servers. */
export interface Readers extends AsyncDisposable {
  /**
   * Each client pulls the blob `times` times over one connection, and discards the bytes.
   * @returns the time to the first byte, for each client.
   * @throws Error if a client did not receive `size` bytes.
   */
  pull(
    pull: Pull & { readonly size: number; readonly times: number },
  ): Promise<{ readonly firstByteMs: readonly number[] }>;
  /** Each client pulls the blob once and hashes it. @throws Error if the bytes do not match `digest`. */
  check(pull: Pull & { readonly digest: Digest }): Promise<void>;
}

/** Small enough to stay in a processor's cache, large enough that the cost of calls is negligible. */
const bufferBytes = 256 * 1024;

export function startReaders(): Readers {
  const program = new URL('reader-thread.ts', import.meta.url);
  const threads = Array.from(
    { length: availableParallelism() },
    () => new Worker(program, { workerData: bufferBytes }),
  );
  return {
    async pull({ signal, size, url, ...job }) {
      const reads = await divide(threads, { ...job, urls: [url].flat(), hashes: false }, signal);
      const other = reads.find((read) => read.size !== size);
      if (other) throw new Error(`${[url].flat().join()} sent ${other.size} bytes instead of ${size}`);
      return { firstByteMs: reads.map((read) => read.firstByteMs) };
    },
    async check({ signal, digest, url, ...job }) {
      const reads = await divide(threads, { ...job, urls: [url].flat(), times: 1, hashes: true }, signal);
      const other = reads.find((read) => `sha256:${read.sha256}` !== digest);
      if (other) throw new Error(`${[url].flat().join()} sent sha256:${other.sha256}`);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}

async function divide(
  threads: readonly Worker[],
  job: ReaderJob,
  signal: AbortSignal,
): Promise<ReaderOutcome['reads']> {
  const jobs = threads.map((thread, i) => {
    const clients = Math.floor((job.clients + i) / threads.length);
    return doneBy(thread, { ...job, clients }, signal);
  });
  return (await Promise.all(jobs)).flat();
}

async function doneBy(thread: Worker, job: ReaderJob, signal: AbortSignal): Promise<ReaderOutcome['reads']> {
  const answer = once(thread, 'message', { signal });
  thread.postMessage(job);
  const { reads, failure }: ReaderOutcome = (await answer)[0];
  if (failure !== undefined) throw new Error(`pulling ${job.urls.join()}`, { cause: failure });
  return reads;
}
