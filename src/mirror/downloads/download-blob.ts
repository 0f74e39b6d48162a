import type { BlobStore } from '../ports/blob-store.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { RelayRules } from '../relays/relay-options.ts';
import { type CommitOnce, commitBlob } from './commit.ts';
import type { DownloadEnd } from '../transfers/transfer-errors.ts';
import { Download } from './download.ts';
import { openSources, openWhole } from './open-sources.ts';
import { type BlobRecording, recordBlob } from './record.ts';
import { reserveSpace, type ReservableSpace } from './reserve-space.ts';
import type { Run, Runs } from './run.ts';
import type { Scheduler } from './scheduler.ts';

export interface DownloadSteps {
  readonly store: Pick<BlobStore, 'open' | 'create' | 'takePartial'>;
  readonly space: ReservableSpace;
  readonly recording: BlobRecording;
  readonly relaying: RelayRules;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly observer: Pick<Observer, 'downloadStarted' | 'internalError'>;
  readonly scheduler: Pick<Scheduler, 'enter'>;
  readonly commits: CommitOnce;
  readonly runs: Runs;
}

export interface EndedDownload extends DownloadEnd {
  /** By the monotonic clock. */
  readonly startedAtMs: number;
}

/**
 * One download: open sources → reserve space → write and hash → verify → commit → record. Clients join it once space is reserved. What fails
 * after the blob is verified costs them nothing.
 * @returns undefined if the store has no room: then the sources' answer is relayed.
 * @throws what opening the sources throws.
 */
export async function downloadBlob(run: Run, steps: DownloadSteps): Promise<EndedDownload | undefined> {
  const { order } = run;
  const { digest } = order;
  await using held = new AsyncDisposableStack();
  const ticket = held.use(steps.scheduler.enter(run));
  const opening = await openSources(run, ticket, steps);
  const reserved = await reserveSpace(order, opening, steps);
  if (!reserved) {
    run.beganUnstored(opening.size, await openWhole(opening, run));
    return undefined;
  }
  const room = held.use(reserved.room);
  const turn = held.use(steps.commits.join(digest));
  const parts = { ...steps, ...steps.relaying, ...order, ...opening, ...reserved, room, ticket };
  const download = held.use(new Download(parts));
  const startedAtMs = steps.clock.monotonicMs();
  steps.observer.downloadStarted({ upstream: order.label });
  steps.runs.began(run, download);
  run.began(download);
  try {
    await download.writeAndHash(opening.opened);
    download.verify();
    const how = await commitBlob(turn, { digest, incoming: reserved.incoming }, steps);
    steps.runs.stored(run);
    await recordBlob(order, { size: download.receivedBytes, how }, steps.recording);
    return { result: 'ok', bytes: download.receivedBytes, startedAtMs };
  } catch (cause) {
    return { ...(await download.fail(cause)), startedAtMs };
  }
}
