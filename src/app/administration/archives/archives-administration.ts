import type { Readable } from 'node:stream';
import type {
  ArchivesAdministration,
  AskedExport,
  AskedImport,
  ImportAnswer,
} from '../../../http/management/api/content/archive-routes.ts';
import { Problem } from '../../../http/management/problems.ts';
import { ArchiveRefused } from '../../../mirror/administration/archives/store-blobs.ts';
import type { Imported } from '../../../mirror/administration/archives/import-images.ts';
import { refusesForNow } from '../../../mirror/ports/blob-store.ts';
import type { AssembledMirror } from '../../../mirror/mirror-parts.ts';
import type { Observer } from '../../../mirror/ports/observer.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { NoRoom } from '../../../mirror/transfers/transfer-errors.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { Part } from '../../lifecycle.ts';
import { ArrivingTar, leastRate, type LeastRate, tarOf, TooSlow } from './tar.ts';

export interface ProcessArchivesDeps {
  readonly mirror: Pick<AssembledMirror, 'exports' | 'imports'>;
  readonly observer: Pick<Observer, 'internalError'>;
  /** How long the next bytes of an archive may take; for tests. */
  readonly idleMs?: number;
  /** For tests. */
  readonly least?: LeastRate;
}

/** Of each kind, at the same time. */
const mostArchives = 4;
const defaultIdleMs = 60_000;
const mostMissing = 100;

/** The archives that this process writes and reads. */
export class ProcessArchives implements ArchivesAdministration, Part {
  readonly name = 'archives';
  readonly #deps: ProcessArchivesDeps;
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  readonly #counts = { exports: 0, imports: 0 };

  constructor(deps: ProcessArchivesDeps) {
    this.#deps = deps;
  }

  async start(): Promise<void> {}

  /** Cuts what runs, and waits for its last step. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Problem('unavailable', 'the mirror is stopping'));
    await Promise.allSettled(this.#running);
  }

  async export(order: AskedExport, waiting: Waiting): Promise<Readable> {
    const signal = AbortSignal.any([waiting.signal, this.#stopping.signal]);
    const end = this.#begin('exports');
    try {
      const { exports } = this.#deps.mirror;
      const planned = await exports.plan(order, { signal });
      if (!('index' in planned)) throw incomplete(planned);
      const onEnd = (failure?: unknown) => {
        end();
        if (failure !== undefined) this.#deps.observer.internalError({ part: 'export', cause: failure });
      };
      return tarOf(exports.files(planned, { signal }), { signal, onEnd, least: this.#deps.least ?? leastRate });
    } catch (cause) {
      end();
      throw problemOf(cause);
    }
  }

  async import(incoming: Readable, order: AskedImport, waiting: Waiting): Promise<ImportAnswer> {
    const end = this.#begin('imports');
    const signal = AbortSignal.any([waiting.signal, this.#stopping.signal]);
    const { idleMs = defaultIdleMs, least = leastRate } = this.#deps;
    const archive = new ArrivingTar(incoming, { signal, idleMs, least });
    try {
      return answerOf(await this.#deps.mirror.imports.run(archive.entries(), order, { signal }));
    } catch (cause) {
      if (!signal.aborted) await archive.drain(); // Else its sender might not see the answer.
      throw problemOf(cause);
    } finally {
      end();
    }
  }

  #begin(kind: 'exports' | 'imports'): () => void {
    this.#stopping.signal.throwIfAborted();
    if (this.#counts[kind] >= mostArchives)
      throw new Problem('unavailable', `${mostArchives} ${kind} run already`, { headers: { 'Retry-After': '5' } });
    this.#counts[kind] += 1;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running.add(promise);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#counts[kind] -= 1;
      this.#running.delete(promise);
      resolve();
    };
  }
}

function incomplete(missing: readonly { readonly image: string; readonly subject: string; readonly detail: string }[]) {
  const problems = missing.slice(0, mostMissing).map(({ image, subject, detail }) => `${image}: ${subject}: ${detail}`);
  const images = [...new Set(missing.map(({ image }) => image))];
  const detail = `not whole in the cache: ${images.slice(0, 5).join(', ')}; fetch it with "layerwell warm" first`;
  return new Problem('not-found', detail, { members: { problems } });
}

/** What is no Problem is a bug. */
function problemOf(cause: unknown): unknown {
  if (cause instanceof ArchiveRefused) return new Problem('refused', cause.message, { cause });
  if (cause instanceof TooSlow) return new Problem('too-slow', cause.message, { cause });
  if (cause instanceof NoRoom)
    return new Problem('unavailable', 'the store has no room for it; what was stored stays, run it again', { cause });
  if (refusesForNow(cause))
    return new Problem('unavailable', 'the disk is full, or takes no writes; what was stored stays', { cause });
  if (cause instanceof UpstreamError) return new Problem('unavailable', 'there is no memory for it now', { cause });
  return cause;
}

function answerOf({ images, written, bytes, present }: Imported): ImportAnswer {
  return {
    images: images.map(({ problem, ...image }) => ({ ...image, ...(problem !== undefined && { problem }) })),
    written,
    bytes,
    present,
  };
}
