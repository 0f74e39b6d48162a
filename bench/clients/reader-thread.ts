/** The thread that {@link startReaders} starts: does one job after the other, several clients at once. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { type BlobReadOutcome, readBlob } from './blob-reader.ts';

export interface ReaderJob {
  readonly url: string;
  readonly clients: number;
  readonly times: number;
  readonly hashes: boolean;
}

export interface ReaderOutcome {
  readonly reads: readonly (BlobReadOutcome & { /** Where the job asked for it. */ readonly sha256?: string })[];
  /** Why there are none. */
  readonly failure?: unknown;
}

const buffer = Buffer.allocUnsafeSlow(Number(workerData));

parentPort?.on('message', (job: ReaderJob) => {
  void doJob(job).then((outcome) => parentPort?.postMessage(outcome));
});

async function doJob(job: ReaderJob): Promise<ReaderOutcome> {
  try {
    return { reads: await Promise.all(Array.from({ length: job.clients }, () => readOnce(job))) };
  } catch (failure) {
    return { reads: [], failure };
  }
}

async function readOnce({ url, times, hashes }: ReaderJob): Promise<ReaderOutcome['reads'][number]> {
  if (!hashes) return readBlob({ url, times, buffer, onBody: () => undefined });
  const hash = createHash('sha256');
  const read = await readBlob({ url, times: 1, buffer, onBody: (piece) => hash.update(piece) });
  return { ...read, sha256: hash.digest('hex') };
}
