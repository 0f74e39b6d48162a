import { Agent } from 'undici';
import type { Clock } from '../mirror/ports/clock.ts';
import type { Memory } from '../mirror/ports/memory.ts';
import type { Tracing } from '../mirror/ports/tracing.ts';
import type { Observer } from '../mirror/ports/observer.ts';
import { RequestLimit } from '../upstream/transport/connections.ts';
import { type Sibling, SiblingClient, type SiblingTimeouts, siblingTimeouts } from './sibling-client.ts';

/** What is sent to siblings, and how they prove who they are. */
export interface SiblingTrust {
  /** The bearer secret. */
  readonly secret: string;
  /** The certificates (PEM) that sign those of the siblings; absent: the authorities that Node knows. */
  readonly ca?: string | undefined;
}

export interface SiblingsDeps {
  readonly trust: SiblingTrust;
  readonly clock: Clock;
  readonly observer: Pick<Observer, 'siblingAsked'>;
  /** The id of this replica: an address where it answers itself is not asked. */
  readonly selfId?: string | undefined;
  /** Bytes that have arrived and are not read yet count against it. */
  readonly memory: Memory;
  /** By default requests are not traced. */
  readonly tracing?: Pick<Tracing, 'ask'> | undefined;
  /** For tests. */
  readonly timeouts?: SiblingTimeouts | undefined;
}

/** Beyond this many siblings the others are not asked. */
const maxSiblings = 256;
/** To one sibling. As many requests may wait. */
const maxConnections = 64;
/** Response headers beyond this are refused. */
const maxHeaderBytes = 16 * 1024;
/** One at a time. */
const pingPath = '/v1/';
/** Shorter than the listener keeps idle connections, so that no request is lost. */
const keepIdleMs = 30_000;

interface Known {
  readonly client: SiblingClient;
  readonly agents: readonly Agent[];
  /** Whether this replica itself answers there. */
  isSelf: boolean;
}

/** The clients of the other replicas. The secret is sent only to addresses that the membership named last. */
export class Siblings {
  readonly #deps: SiblingsDeps;
  #trust: SiblingTrust;
  #siblings = new Map<string, Known>();
  readonly #closing = new AbortController();

  constructor(deps: SiblingsDeps) {
    this.#deps = deps;
    this.#trust = deps.trust;
  }

  /** The sibling at an address of the membership. @returns undefined for any other address, and where this replica itself answers. */
  at(address: string): Sibling | undefined {
    const known = this.#siblings.get(address);
    return known?.isSelf === true ? undefined : known?.client;
  }

  /** The addresses of siblings that refused the secret when they were last asked. */
  get refusedBy(): readonly string[] {
    return [...this.#siblings].filter(([, { client }]) => client.isRefused).map(([address]) => address);
  }

  /** Sets the addresses of the other live replicas. New ones are asked at once whether they accept the secret; those that left are closed. */
  follow(addresses: readonly string[]): void {
    if (this.#closing.signal.aborted) return;
    const before = this.#siblings;
    const named = [...new Set(addresses)].slice(0, maxSiblings);
    this.#siblings = new Map(named.flatMap((address) => this.#entryOf(address, before)));
    for (const [address, { agents }] of before) {
      if (this.#siblings.has(address)) continue;
      for (const agent of agents) agent.close().catch(() => {}); // It may be destroyed already.
    }
  }

  /**
   * From now on this secret is sent, and these certificates are trusted. Running requests end as they began. All siblings are asked whether
   * they accept the secret.
   */
  rely(trust: SiblingTrust): void {
    const isOtherCa = trust.ca !== this.#trust.ca;
    this.#trust = trust;
    for (const known of this.#siblings.values()) {
      known.client.forgetRefusal();
      if (!isOtherCa) this.#check(known);
    }
    if (!isOtherCa) return;
    const addresses = [...this.#siblings.keys()];
    this.follow([]);
    this.follow(addresses);
  }

  /** Drops all connections, with what runs on them. */
  async close(): Promise<void> {
    const agents = [...this.#siblings.values()].flatMap((known) => known.agents);
    this.#siblings.clear();
    this.#closing.abort();
    await Promise.all(agents.map((agent) => agent.destroy()));
  }

  #entryOf(address: string, before: ReadonlyMap<string, Known>): readonly (readonly [string, Known])[] {
    const known = before.get(address);
    if (known) return [[address, known]];
    const url = siblingAddress(address);
    if (!url) return [];
    const made = this.#make(url);
    this.#check(made);
    return [[address, made]];
  }

  /** Asks whether the secret is accepted, and who answers. */
  #check(known: Known): void {
    known.client.replicaId({ signal: this.#closing.signal }).then(
      (id) => (known.isSelf = id === this.#deps.selfId),
      () => {}, // Counted, and told by refusedBy.
    );
  }

  #make(address: URL): Known {
    const [agent, forPings] = [this.#agent(maxConnections), this.#agent(1)];
    const limit = new RequestLimit(maxConnections);
    const connections = {
      // A ping must not wait for a body to end: it tells whether that body still comes.
      dispatcherFor: ({ pathname }: URL) => (pathname === pingPath ? forPings : agent),
      enter: (url: URL) => (url.pathname === pingPath ? () => {} : limit.enter(url)),
    };
    const client = new SiblingClient({ ...this.#deps, address, connections, secret: () => this.#trust.secret });
    return { client, agents: [agent, forPings], isSelf: false };
  }

  #agent(connections: number): Agent {
    const { timeouts = siblingTimeouts } = this.#deps;
    const { ca } = this.#trust;
    return new Agent({
      allowH2: false,
      pipelining: 1,
      connections,
      connectTimeout: timeouts.connectMs,
      headersTimeout: timeouts.headersMs,
      bodyTimeout: 0, // The body of the answer has its own.
      keepAliveTimeout: keepIdleMs,
      maxHeaderSize: maxHeaderBytes,
      connect: { timeout: timeouts.connectMs, ...(ca !== undefined && { ca }) },
    });
  }
}

/** @returns undefined for what is no origin of http or https. */
function siblingAddress(text: string): URL | undefined {
  const url = URL.parse(text);
  const isOrigin = url !== null && (url.href === `${url.origin}/` || url.href === url.origin);
  return isOrigin && (url.protocol === 'http:' || url.protocol === 'https:') ? url : undefined;
}
