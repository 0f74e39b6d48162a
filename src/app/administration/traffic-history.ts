import type { Minutes as MinutesAnswer, MinutesAdministration } from '../../http/management/api/minutes-routes.ts';
import { isoOf } from '../../http/management/api/schemas.ts';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import { refusesForNow } from '../../mirror/ports/blob-store.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { Observer } from '../../mirror/ports/observer.ts';
import { DurableFolders } from '../../storage/filesystem/durable-folders.ts';
import type { FileSystem } from '../../storage/filesystem/file-system.ts';
import { StateFile } from '../../storage/filesystem/state-file.ts';
import { minutesFile } from '../../storage/layout.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { type Counts, countsFrom, Minutes, mostMinutes } from '../../telemetry/minutes.ts';
import type { Part } from '../lifecycle.ts';
import type { Stores } from '../stores.ts';

export interface TrafficHistoryDeps {
  readonly file: Pick<StateFile, 'read' | 'write'>;
  readonly counters: Pick<Metrics, 'answerTotals' | 'upstreamTotals'>;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'internalError'>;
  readonly log: Pick<Log, 'logger'>;
}

/** Often enough that each minute of a running process is counted. */
const readEveryMs = 10_000;
const writeEveryMs = 60_000;
/** A minute is 7 numbers of requests and 3 of at most 16 digits. */
const maxMinutesBytes = 512 * 1024;

export interface HistoryStore {
  readonly stores: Pick<Stores, 'lock'>;
  readonly files: FileSystem;
  /** The storage path. */
  readonly path: string;
}

/** The statistics by minute of the store at a path. */
export function createTrafficHistory(
  { stores, ...place }: HistoryStore,
  deps: Omit<TrafficHistoryDeps, 'file'>,
): TrafficHistory {
  const file = new StateFile({
    ...place,
    ...deps,
    name: minutesFile,
    maxBytes: maxMinutesBytes,
    folders: new DurableFolders(place),
    failpoint: undefined,
    hold: () => stores.lock.hold(),
  });
  return new TrafficHistory({ ...deps, file });
}

/**
 * The statistics by minute: what the counters of the process have grown by. They are kept in memory, and once a minute in a file, so that they go
 * on after a restart. Nothing depends on the file: one that cannot be read is ignored, and a disk that is full costs the minutes since.
 */
export class TrafficHistory implements Part, MinutesAdministration {
  readonly name = 'statistics by minute';
  readonly #deps: TrafficHistoryDeps;
  readonly #minutes = new Minutes();
  #counted = nothingCounted;
  #writtenAtMs: number;
  #writing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: TrafficHistoryDeps) {
    this.#deps = deps;
    this.#writtenAtMs = deps.clock.monotonicMs();
  }

  async start(): Promise<void> {
    await this.#restore();
    this.#timer = setInterval(() => this.tick(), readEveryMs).unref();
  }

  async stop({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    clearInterval(this.#timer);
    this.#read();
    await abortable(Promise.resolve(this.#writing), signal).catch(() => {});
    if (!signal.aborted) await abortable(this.#write(), signal).catch(() => {});
  }

  /** Reads the counters, and writes the file if a minute has passed since it was written. */
  tick(): void {
    this.#read();
    if (this.#deps.clock.monotonicMs() - this.#writtenAtMs >= writeEveryMs) void this.#write();
  }

  list({ fromMs }: { readonly fromMs: number | undefined }): MinutesAnswer {
    this.#read();
    const nowMs = this.#deps.clock.now();
    const listed = this.#minutes.list(fromMs ?? nowMs - mostMinutes * 60_000, nowMs);
    return {
      items: listed.map(({ atMs, counts }) => {
        const { servedBytes, upstreamBytes, upstreamRequests, ...requests } = counts;
        return {
          at: isoOf(atMs),
          requests,
          bytes: { served: servedBytes, fromUpstream: upstreamBytes },
          upstreamRequests,
        };
      }),
    };
  }

  #read(): void {
    const [before, counted] = [this.#counted, countsOf(this.#deps.counters)];
    this.#minutes.add(
      this.#deps.clock.now(),
      countsFrom((name) => Math.max(0, counted[name] - before[name])),
    );
    this.#counted = counted;
  }

  async #restore(): Promise<void> {
    const { file, log } = this.#deps;
    try {
      const bytes = await file.read();
      if (bytes === undefined || this.#minutes.restore(JSON.parse(bytes.toString('utf8')))) return;
      throw new Error('it is not of this version');
    } catch (cause) {
      log.logger.warn({ err: cause }, 'the statistics by minute cannot be read: they begin anew');
    }
  }

  /** One write at a time: a disk that hangs holds one. Never rejects. */
  #write(): Promise<void> {
    this.#writing ??= this.#writeNow().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #writeNow(): Promise<void> {
    const { file, clock, observer } = this.#deps;
    this.#writtenAtMs = clock.monotonicMs();
    try {
      await file.write(Buffer.from(this.#minutes.text(clock.now())));
    } catch (cause) {
      if (!refusesForNow(cause)) observer.internalError({ part: 'statistics by minute', cause });
    }
  }
}

const nothingCounted = countsFrom(() => 0);

/** The counters of the process. */
function countsOf({ answerTotals, upstreamTotals }: TrafficHistoryDeps['counters']): Counts {
  const answers = answerTotals();
  const { bytes: upstreamBytes, requests: upstreamRequests } = upstreamTotals();
  const words = Object.fromEntries([...answers].map(([word, total]) => [word, total.answers]));
  const servedBytes = [...answers.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  return { ...nothingCounted, ...words, servedBytes, upstreamBytes, upstreamRequests };
}
