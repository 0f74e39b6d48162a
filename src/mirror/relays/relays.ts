import type { Digest } from '../../oci/digest.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import { isSameRepository, type RepositoryId } from '../ports/repository-id.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { SharedWorkTracing, SpanReference } from '../ports/tracing.ts';
import type { Waiting } from '../ports/waiting.ts';
import { SingleFlight } from '../concurrency/single-flight.ts';
import type { RemoteBlob } from '../transfers/remote-blob.ts';
import { Relay } from './relay.ts';
import { type RelayRules, verifyWhole } from './relay-options.ts';

/** A part of a blob: the positions of its first and last byte. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

export interface RelayedBlob {
  readonly repositoryId: RepositoryId;
  readonly digest: Digest;
  /** Whether the repository is known to have the blob: then it may join a relay that another repository of the upstream started. */
  readonly isLinked: boolean;
}

export interface RelayRequest extends RelayedBlob {
  /** Absent: the whole blob. */
  readonly part?: Part | undefined;
  /** Size of the whole blob, if it is known. */
  readonly size: number | undefined;
  readonly blob: RemoteBlob;
  /** Takes an answer that is open already; undefined when another caller has taken it. */
  readonly takeOpened?: (() => OpenedBlob | undefined) | undefined;
  /** Whether to fail when the upstream answers a part with the whole blob, instead of skipping to the part. */
  readonly needsRanges?: boolean;
}

type RelayKeyParts = Pick<RelayRequest, 'repositoryId' | 'digest' | 'part'>;

export interface JoinedRelay {
  /** Must be disposed. */
  readonly source: ByteSource;
  readonly size: number | undefined;
  readonly settled: Promise<void>;
  /** Whether it joined an upstream request of another client. */
  readonly isShared: boolean;
}

interface Running {
  readonly repositoryId: RepositoryId;
  readonly relay: Relay;
  /** The request that began it, if requests are traced. */
  readonly begunBy: SpanReference | undefined;
}

/** The running relays. Clients of one upstream that want the same bytes at the same time share one request to it. */
export class Relays {
  readonly #rules: RelayRules;
  readonly #opening: SingleFlight<Relay>;
  readonly #tracing: SharedWorkTracing | undefined;
  readonly #running = new Map<string, Running>();

  constructor(rules: RelayRules, { tracing }: { readonly tracing?: SharedWorkTracing | undefined } = {}) {
    this.#rules = rules;
    this.#tracing = tracing;
    this.#opening = new SingleFlight({ tracing });
  }

  /** Resolves once the upstream has answered. @throws as the upstream does. */
  async join(request: RelayRequest, waiting: Waiting): Promise<JoinedRelay> {
    const running = this.#find(request);
    if (running) return joined(running, true);
    const opened = await this.#opening.run(openingKey(request), (flight) => this.#open(request, flight), waiting);
    return opened.value.isJoinable ? joined(opened.value, opened.collapsed) : this.join(request, waiting);
  }

  /**
   * Joins a relay of the whole blob that another caller has started; the source never asks the upstream by itself.
   * @param options.atOnce whether only a relay counts that has received more than `start` bytes.
   * @returns undefined if none can be joined. @throws as the upstream does; the signal's reason.
   */
  async joinRunning(
    request: RelayedBlob,
    { signal, atOnce, start = 0 }: Waiting & { readonly atOnce: boolean; readonly start?: number | undefined },
  ): Promise<JoinedRelay | undefined> {
    const running = this.#find(request);
    const relay = running ?? (atOnce ? undefined : (await this.#opening.join(openingKey(request), { signal }))?.value);
    if (!relay?.isJoinable || (atOnce && relay.receivedBytes <= start)) return undefined;
    return joined(relay, true, relay.join(undefined, { mayAskAlone: false }));
  }

  #find(request: RelayedBlob & Pick<RelayRequest, 'part'>): Relay | undefined {
    const running = this.#running.get(relayKey(request));
    const mayShare = running && (request.isLinked || isSameRepository(running.repositoryId, request.repositoryId));
    if (!mayShare || !running.relay.isJoinable) return undefined;
    this.#tracing?.link(running.begunBy);
    return running.relay;
  }

  async #open(request: RelayRequest, waiting: Waiting): Promise<Relay> {
    const { digest, part, repositoryId, blob } = request;
    let first = request.takeOpened?.() ?? (await this.#ask(request, waiting));
    for (let problem = problemOf(first, request); problem; problem = problemOf(first, request)) {
      first.body.destroy();
      if (!blob.skipSource(first)) throw problem;
      first = await this.#ask(request, waiting);
    }
    const size = first.size ?? request.size;
    const bytes = part ? { from: part.start, until: part.end + 1 } : { from: 0, verify: verifyWhole(digest) };
    const relay = new Relay({ ...this.#rules, ...bytes, digest, size, first, blob });
    this.#keep(relayKey(request), { repositoryId, relay, begunBy: this.#tracing?.active() });
    return relay;
  }

  #keep(key: string, running: Running): void {
    this.#running.set(key, running);
    void running.relay.closed.then(() => {
      if (this.#running.get(key) === running) this.#running.delete(key);
    });
    // Waiters join in this turn of the event loop. If all of them have left, the relay has no readers and is closed.
    setImmediate(() => running.relay.closeUnlessRead());
  }

  /** The signal aborts the request only until the upstream has answered; the relay owns the answer after that. */
  async #ask({ blob, part }: RelayRequest, { signal }: Waiting): Promise<OpenedBlob> {
    const asking = new AbortController();
    const leave = () => asking.abort(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await blob.open(part?.start ?? 0, part?.end, { signal: asking.signal });
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }
}

/** Why an answer is not what was asked for. Pure. */
function problemOf(
  { offset, size: claimed }: OpenedBlob,
  { part, size, needsRanges = false }: RelayRequest,
): OciError | UpstreamError | undefined {
  if (needsRanges && offset !== (part?.start ?? 0)) return new OciError('RANGE_INVALID', 'the upstream ignores ranges');
  if (!part || claimed === undefined || claimed === size) return undefined;
  return new UpstreamError('misbehaving', `the upstream sends a blob of ${size} bytes as one of ${claimed} bytes`);
}

function joined(relay: Relay, isShared: boolean, source = relay.join()): JoinedRelay {
  return { source, size: relay.size, settled: relay.settled, isShared };
}

/** Before the upstream has answered, only requests for one repository are shared. */
function openingKey(request: RelayKeyParts): string {
  return `${request.repositoryId.repository} ${relayKey(request)}`;
}

function relayKey({ repositoryId, digest, part }: RelayKeyParts): string {
  return `${repositoryId.upstream} ${digest} ${part ? `${part.start}-${part.end}` : 'whole'}`;
}
