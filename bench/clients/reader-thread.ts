/** A thread of {@link startReaders}: runs one job after another, each with several clients. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { type BlobReadOutcome, readBlob } from './blob-reader.ts';

export interface ReaderJob {
  /** The clients take turns. */
  readonly urls: readonly string[];
  readonly clients: number;
  readonly times: number;
  readonly hashes: boolean;
}

export interface ReaderOutcome {
  readonly reads: readonly (BlobReadOutcome & { /** If the job requested it. */ readonly sha256?: string })[];
  /** The reason, if the job failed. */
  readonly failure?: unknown;
}

const buffer = Buffer.allocUnsafeSlow(Number(workerData));

parentPort?.on('message', (job: ReaderJob) => {
  void doJob(job).then((outcome) => parentPort?.postMessage(outcome));
});

async function doJob(job: ReaderJob): Promise<ReaderOutcome> {
  try {
    return { reads: await Promise.all(Array.from({ length: job.clients }, (_, client) => readOnce(job, client))) };
  } catch (failure) {
    return { reads: [], failure };
  }
}

async function readOnce({ urls, times, hashes }: ReaderJob, client: number): Promise<ReaderOutcome['reads'][number]> {
  const url = urls[client % urls.length] ?? '';
  if (!hashes) return readBlob({ url, times, buffer, onBody: () => undefined });
  const hash = createHash('sha256');
  const read = await readBlob({ url, times: 1, buffer, onBody: (piece) => hash.update(piece) });
  return { ...read, sha256: hash.digest('hex') };
}
