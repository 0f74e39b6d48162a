import type { Digest } from '../../oci/digest.ts';
import { OciError, UpstreamError } from '../../oci/errors.ts';
import type { ByteSource } from '../ports/byte-source.ts';
import type { RepositoryId } from '../ports/repository-id.ts';
import type { OpenedBlob } from '../ports/upstream.ts';
import type { Waiting } from '../ports/waiting.ts';
import { isSameRepository } from '../repository-id.ts';
import { SingleFlight } from '../single-flight.ts';
import { Relay } from './relay.ts';
import { type RelayRules, verifyWhole } from './relay-options.ts';
import type { OpenPart } from './relay-upstream.ts';

/** A part of a blob. Positions of its first and last byte. */
export interface Part {
  readonly start: number;
  readonly end: number;
}

export interface RelayRequest {
  readonly of: RepositoryId;
  readonly digest: Digest;
  /** Whether `of` is known to have the blob: then it may share what another repository of the upstream asked for. */
  readonly isLinked: boolean;
  /** Absent: the whole blob. */
  readonly part?: Part | undefined;
  /** Of the whole blob, where it is known. */
  readonly size: number | undefined;
  readonly open: OpenPart;
  /** Called when other bytes come than the digest names, or another number of them. */
  readonly onWrong: () => void;
  /** An answer that is open already: whoever calls first has it. */
  readonly takeOpened?: (() => OpenedBlob | undefined) | undefined;
  /** Whether an upstream that answers a part with the whole is refused, rather than read up to there. */
  readonly needsRanges?: boolean;
}

export interface JoinedRelay {
  /** Must be disposed. */
  readonly source: ByteSource;
  readonly size: number | undefined;
  readonly settled: Promise<void>;
  /** Whether somebody else's request to the upstream is read along. */
  readonly isShared: boolean;
}

interface Running {
  readonly of: RepositoryId;
  readonly relay: Relay;
}

/** What is served without being stored: clients of one upstream that want the same bytes at the same time share one request to it. */
export class Relays {
  readonly #rules: RelayRules;
  readonly #opening = new SingleFlight<Relay>();
  readonly #running = new Map<string, Running>();

  constructor(rules: RelayRules) {
    this.#rules = rules;
  }

  /** Resolves once the upstream has answered. @throws as the upstream does. */
  async join(request: RelayRequest, waiting: Waiting): Promise<JoinedRelay> {
    const running = this.#find(request);
    if (running) return joined(running, true);
    const key = `${request.of.repository} ${keyOf(request)}`;
    const opened = await this.#opening.run(key, (flight) => this.#open(request, flight), waiting);
    return opened.value.isJoinable ? joined(opened.value, opened.collapsed) : this.join(request, waiting);
  }

  #find(request: RelayRequest): Relay | undefined {
    const running = this.#running.get(keyOf(request));
    const mayShare = running && (request.isLinked || isSameRepository(running.of, request.of));
    return mayShare && running.relay.isJoinable ? running.relay : undefined;
  }

  async #open(request: RelayRequest, waiting: Waiting): Promise<Relay> {
    const { digest, part, of, open, onWrong, needsRanges = false } = request;
    const first = request.takeOpened?.() ?? (await this.#ask(request, waiting));
    if (needsRanges && first.offset !== (part?.start ?? 0)) {
      first.body.destroy();
      throw new OciError('RANGE_INVALID', 'the upstream sends no parts of blobs');
    }
    if (part && first.size !== undefined && first.size !== request.size) {
      first.body.destroy();
      throw new UpstreamError('misbehaving', `the upstream says ${first.size} bytes of a blob of ${request.size}`);
    }
    const size = first.size ?? request.size;
    const bytes = part ? { from: part.start, until: part.end + 1 } : { from: 0, verify: verifyWhole(digest) };
    const relay = new Relay({ ...this.#rules, ...bytes, digest, size, first, open, onWrong });
    this.#keep(keyOf(request), { of, relay });
    return relay;
  }

  #keep(key: string, running: Running): void {
    this.#running.set(key, running);
    void running.relay.closed.then(() => {
      if (this.#running.get(key) === running) this.#running.delete(key);
    });
    // Whoever waited joins in this turn; where all have left, nobody reads it.
    setImmediate(() => running.relay.closeUnlessRead());
  }

  /** The answer outlives the question: only until it is there does the signal end it. */
  async #ask({ open, part }: RelayRequest, { signal }: Waiting): Promise<OpenedBlob> {
    const asking = new AbortController();
    const leave = () => asking.abort(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await open(part?.start ?? 0, part?.end, { signal: asking.signal });
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }
}

function joined(relay: Relay, isShared: boolean): JoinedRelay {
  return { source: relay.join(), size: relay.size, settled: relay.settled, isShared };
}

function keyOf({ of, digest, part }: RelayRequest): string {
  return `${of.upstream} ${digest} ${part ? `${part.start}-${part.end}` : 'whole'}`;
}
