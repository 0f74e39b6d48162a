import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Observer, SiblingContentKind, SiblingOutcome } from '../mirror/ports/observer.ts';
import type { OtherCache } from '../mirror/ports/other-caches.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import {
  parseTagRecord,
  parseVisibilityRecord,
  type TagRecord,
  type VisibilityRecord,
} from '../mirror/ports/record-store.ts';
import { type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import type { ByteRange, FetchedManifest, OpenedBlob } from '../mirror/ports/upstream.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts';
import { UpstreamError } from '../oci/errors.ts';
import { isJsonObject, parseJson } from '../oci/json.ts';
import { maxManifestBytes } from '../oci/manifest.ts';
import { mediaTypeIn } from '../oci/media-types.ts';
import type { Tag } from '../oci/reference.ts';
import { type Answer, headerOf, openedBlob } from '../upstream/transport/answer.ts';
import type { Connections } from '../upstream/transport/connections.ts';
import { createSend, type ExchangeTimeouts, type Send } from '../upstream/transport/exchange.ts';
import { discard, maxSmallBodyBytes, readAtMost } from '../upstream/transport/read-at-most.ts';
import { refusal, SiblingHealth } from './sibling-health.ts';

export interface SiblingClientDeps {
  /** From the membership: `http://10.0.0.7:5002`. */
  readonly address: URL;
  readonly connections: Pick<Connections, 'dispatcherFor' | 'enter'>;
  /** The bearer secret of now: it may be rotated. */
  readonly secret: () => string;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'siblingAsked'>;
  readonly memory: Memory;
  readonly tracing?: Pick<Tracing, 'ask'> | undefined;
  readonly timeouts?: SiblingTimeouts | undefined;
}

/** Milliseconds. */
export interface SiblingTimeouts extends ExchangeTimeouts {
  readonly connectMs: number;
  /** A sibling that waits for its upstream says so meanwhile (102): then this time begins again. */
  readonly headersMs: number;
  /** … but not after this time: its upstream may be out of its reach only, and the client waits. */
  readonly toldForMs?: number;
  /**
   * A body that brings nothing for this long has failed. If a ping is answered meanwhile, the sibling waits for its upstream: then this time
   * begins again, likewise.
   */
  readonly idleMs: number;
}

export const siblingTimeouts: SiblingTimeouts = { connectMs: 1_000, headersMs: 5_000, idleMs: 5_000 };

const usuallyToldForMs = 6_000;
/** Deadline for the body of a manifest or record. */
const bodyWithinMs = 5_000;

/** A sibling that has a blob and sends it more slowly is left for the next source, which goes on where it stopped. */
const leastBytesPerSecond = 128 * 1024;

/** How a blob is asked for. */
export interface SiblingBlobOptions extends SiblingWaiting {
  readonly range?: ByteRange;
  /** Whether the sibling has all of it: one that is downloading it is no faster than its upstream. */
  readonly isStored?: boolean;
}

/** How to wait for a sibling. */
export interface SiblingWaiting extends Waiting {
  /**
   * Whether it answers at once that content is not there if it cannot be read at once: a blob that is arriving must be there further than the
   * range begins. Otherwise it waits a few seconds, and replicas that ask each other, because their upstream gives no answer, would wait for
   * each other.
   */
  readonly atOnce?: boolean | undefined;
}

/** A sibling as another cache. */
export interface Sibling extends OtherCache {
  openBlob(repositoryId: RepositoryId, digest: Digest, options: SiblingBlobOptions): Promise<OpenedBlob | undefined>;
  manifest(repositoryId: RepositoryId, digest: Digest, waiting: SiblingWaiting): Promise<FetchedManifest | undefined>;
}

/** How one request is made and read. */
interface Question<Value> {
  readonly kind: SiblingContentKind;
  /** Behind `/v1/`. */
  readonly path: string;
  readonly range?: ByteRange | undefined;
  /** Reads the answer of status 200 or 206. */
  readonly read: (answer: Answer) => Promise<Value> | Value;
}

/** What a sibling replica holds, is downloading or relays, asked at its listener; see http/siblings/. Redirects are not followed. */
export class SiblingClient implements Sibling {
  readonly #deps: SiblingClientDeps;
  readonly #send: Send;
  readonly #health: SiblingHealth;

  constructor(deps: SiblingClientDeps) {
    this.#deps = deps;
    const observer = { upstreamAnswered: () => {}, upstreamBytes: () => {} }; // Siblings have events of their own.
    const { timeouts = siblingTimeouts, address, tracing } = deps;
    this.#health = new SiblingHealth({ ...deps, host: deps.address.host, ping: () => this.#ping() });
    this.#send = createSend({
      ...deps,
      upstream: address.host,
      tracing: tracing && { tracing, origin: address.origin, sendsContext: true },
      timeouts,
      userAgent: 'layerwell-sibling',
      toldForMs: timeouts.toldForMs ?? usuallyToldForMs,
      observer,
    });
  }

  /** Whether it refused the secret when it was last asked. */
  get isRefused(): boolean {
    return this.#health.isRefused;
  }

  openBlob(
    repositoryId: RepositoryId,
    digest: Digest,
    { range, isStored = false, ...waiting }: SiblingBlobOptions,
  ): Promise<OpenedBlob | undefined> {
    const path = `${repositoryKey(repositoryId)}/blobs/${digest}`;
    const read = (answer: Answer) => {
      if (isStored) answer.body.expectRate(leastBytesPerSecond);
      return this.#watched(answer, blobIn(answer, range));
    };
    return this.#ask({ kind: 'blob', path, range, read }, waiting);
  }

  manifest(repositoryId: RepositoryId, digest: Digest, waiting: SiblingWaiting): Promise<FetchedManifest | undefined> {
    const path = `${repositoryKey(repositoryId)}/manifests/${digest}`;
    return this.#ask({ kind: 'manifest', path, read: (answer) => manifestIn(answer, digest, waiting) }, waiting);
  }

  tag(repositoryId: RepositoryId, tag: Tag, waiting: Waiting): Promise<TagRecord | undefined> {
    const path = `${repositoryKey(repositoryId)}/tags/${tag}`;
    const sinceMs = this.#deps.clock.now();
    const read = async (answer: Answer) => {
      const record = await documentIn(answer, waiting);
      return (
        parseTagRecord({ ...record, tag, confirmedAtMs: momentOf(record['ageMs'], sinceMs) }, tag) ?? unusable(answer)
      );
    };
    return this.#ask({ kind: 'tag', path, read }, waiting);
  }

  visibility(repositoryId: RepositoryId, waiting: Waiting): Promise<VisibilityRecord | undefined> {
    const path = `${repositoryKey(repositoryId)}/visibility/verdict`;
    const sinceMs = this.#deps.clock.now();
    const read = async (answer: Answer) => {
      const record = await documentIn(answer, waiting);
      return parseVisibilityRecord({ ...record, askedAtMs: momentOf(record['ageMs'], sinceMs) }) ?? unusable(answer);
    };
    return this.#ask({ kind: 'visibility', path, read }, waiting);
  }

  /** Asks whether it accepts the secret. @returns the id of the replica. @throws as the others do. */
  async replicaId(waiting: Waiting): Promise<string> {
    const read = async (answer: Answer) => {
      const { replica } = await documentIn(answer, waiting);
      return typeof replica === 'string' ? replica : unusable(answer);
    };
    const id = await this.#ask({ kind: 'ping', path: '', read }, waiting);
    if (id === undefined)
      throw new UpstreamError('misbehaving', `${this.#deps.address.host} is no replica of this mirror`);
    return id;
  }

  /** To be called when the secret has changed. */
  forgetRefusal(): void {
    this.#health.forgetRefusal();
  }

  /** Its upstream may be silent in the middle of a blob, and then it has nothing to send. */
  #watched({ body }: Answer, opened: OpenedBlob): OpenedBlob {
    const { timeouts = siblingTimeouts } = this.#deps;
    const { idleMs, toldForMs: forMs = usuallyToldForMs } = timeouts;
    this.#health.watch(body, { everyMs: idleMs / 4, forMs });
    return opened;
  }

  #ping(): Promise<string> {
    return this.replicaId({ signal: new AbortController().signal });
  }

  /** @returns undefined for a 404. */
  async #ask<Value>(question: Question<Value>, waiting: SiblingWaiting): Promise<Value | undefined> {
    const { kind } = question;
    const { observer } = this.#deps;
    try {
      const found = await this.#answered(question, waiting);
      observer.siblingAsked({ kind, outcome: found === undefined ? 'missing' : 'ok' });
      return found;
    } catch (cause) {
      observer.siblingAsked({ kind, outcome: outcomeOf(cause, waiting) });
      if (kind !== 'ping') this.#health.failed(cause);
      throw cause;
    }
  }

  async #answered<Value>(
    { kind, path, range, read }: Question<Value>,
    { signal, atOnce }: SiblingWaiting,
  ): Promise<Value | undefined> {
    const { address, secret } = this.#deps;
    this.#health.throwIfNotAsked(kind);
    const url = new URL(`/v1/${path}`, address);
    const headers = {
      authorization: `Bearer ${secret()}`,
      ...(atOnce && { prefer: 'wait=0' }),
      ...(range && { range: `bytes=${range.start}-${range.end ?? ''}` }),
    };
    const sent = kind === 'tag' ? 'tags' : kind;
    const answer = await this.#send({ method: 'GET', url, headers, kind: sent }, { signal }).catch((cause: unknown) => {
      this.#health.gaveNoAnswer(cause);
      throw cause;
    });
    this.#health.answered(answer.status);
    if (answer.status === 200 || answer.status === 206) return read(answer);
    void discard(answer);
    if (answer.status === 404) return undefined;
    throw failureOf(answer);
  }
}

function outcomeOf(cause: unknown, { signal }: Waiting): SiblingOutcome {
  if (signal.aborted) return 'aborted';
  return cause instanceof UpstreamError ? cause.reason : 'misbehaving';
}

/** The headers may name the whole size also where the length of the body is not known. */
function blobIn(answer: Answer, range: ByteRange | undefined): OpenedBlob {
  const opened = openedBlob(answer, range);
  const size = headerOf(answer.headers, 'layerwell-blob-size');
  return { ...opened, size: opened.size ?? (size !== undefined && /^\d{1,15}$/.test(size) ? Number(size) : undefined) };
}

/** @throws UpstreamError misbehaving if the bytes are not those of the digest. */
async function manifestIn(answer: Answer, digest: Digest, { signal }: Waiting): Promise<FetchedManifest> {
  const bytes = await readAtMost(answer, maxManifestBytes, { signal, withinMs: bodyWithinMs });
  const mediaType = mediaTypeIn(headerOf(answer.headers, 'content-type'));
  if (mediaType === undefined || answer.status !== 200 || digestOf(bytes, algorithmOf(digest)) !== digest)
    return unusable(answer);
  return { digest, mediaType, bytes };
}

async function documentIn(answer: Answer, { signal }: Waiting): Promise<Readonly<Record<string, unknown>>> {
  const document = parseJson(await readAtMost(answer, maxSmallBodyBytes, { signal, withinMs: bodyWithinMs }));
  return isJsonObject(document) ? document : unusable(answer);
}

/** When something happened that was so old at `sinceMs`. @returns undefined for what is no age. */
function momentOf(ageMs: unknown, sinceMs: number): number | undefined {
  return typeof ageMs === 'number' && ageMs >= 0 ? Math.max(0, sinceMs - ageMs) : undefined;
}

/** @throws UpstreamError misbehaving */
function unusable({ url }: Answer): never {
  throw new UpstreamError('misbehaving', `${url.host} sent something else than it was asked for`);
}

function failureOf({ url, status, headers }: Answer): UpstreamError {
  const message = `${url.host} answered ${status}`;
  const more = { upstreamStatus: status, retryAfterSeconds: Number(headerOf(headers, 'retry-after')) || undefined };
  if (status === 401) return refusal(url.host);
  if (status === 503) return new UpstreamError('busy', message, more);
  return new UpstreamError(status >= 500 ? 'unavailable' : 'misbehaving', message, more);
}
