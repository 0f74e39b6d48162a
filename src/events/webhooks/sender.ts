import type { Clock } from '../../mirror/ports/clock.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../oci/errors.ts';
import { createSharedLookup, type Lookup } from '../../upstream/lookup/shared-lookup.ts';
import { type Connections, createConnections } from '../../upstream/transport/connections.ts';
import { createSend, type Send } from '../../upstream/transport/exchange.ts';
import { retryAfterSecondsOf } from '../../upstream/transport/rate-limits.ts';
import { maxSmallBodyBytes, readAtMost } from '../../upstream/transport/read-at-most.ts';
import { defaultUpstreamSettings, type UpstreamProxy } from '../../upstream/settings.ts';
import type { Outcome } from './next-step.ts';
import { signatureHeaders, signingKey } from './signature.ts';

export interface SenderDeps {
  readonly url: URL;
  /** The secrets of now: the current one, and a former one while it is being changed. @throws Error when one cannot be read. */
  readonly readSecrets: () => Promise<readonly string[]>;
  /** PEM; trusted in addition to the system's. */
  readonly ca: string | undefined;
  readonly proxy: UpstreamProxy;
  readonly userAgent: string;
  readonly clock: Clock;
  /** For tests. */
  readonly withinMs?: number | undefined;
  readonly lookup?: Lookup | undefined;
}

/** How long a receiver may take for its answer. */
const usuallyWithinMs = 15_000;
const connectWithinMs = 5_000;

/** What is sent. */
export interface Delivery {
  readonly id: string;
  /** A CloudEvent as JSON. */
  readonly json: string;
}

/** Sends events to one URL. Redirects are not followed: they are a failure. */
export class Sender {
  readonly #deps: SenderDeps;
  readonly #connections: Connections;
  readonly #send: Send;

  constructor(deps: SenderDeps) {
    const { url, ca, proxy, userAgent, clock, withinMs = usuallyWithinMs } = deps;
    const lookup = deps.lookup ?? createSharedLookup({ clock });
    const timeouts = { connectMs: Math.min(connectWithinMs, withinMs), headersMs: withinMs, idleMs: withinMs };
    const settings = {
      ...defaultUpstreamSettings,
      maxConnections: 1,
      userAgent,
      proxy,
      tls: { insecureSkipVerify: false, ca },
      timeouts: { ...timeouts, tokenMs: withinMs },
    };
    this.#deps = deps;
    this.#connections = createConnections(
      settings,
      { own: [url], exact: [url], named: [url] },
      { lookup, lookupElsewhere: lookup },
    );
    const observer = { upstreamAnswered: () => {}, upstreamBytes: () => {} }; // Webhooks have events of their own.
    this.#send = createSend({
      upstream: 'webhook',
      connections: this.#connections,
      timeouts,
      userAgent,
      clock,
      observer,
    });
  }

  /** Sends one event. @throws only the signal's reason, when it aborts. */
  async send({ id, json }: Delivery, { signal }: Waiting): Promise<Outcome> {
    const { url, clock } = this.#deps;
    try {
      const keys = (await this.#deps.readSecrets()).map(signingKey);
      const headers = {
        'content-type': 'application/cloudevents+json',
        ...signatureHeaders({ id, body: json, atMs: clock.now() }, keys),
      };
      const exchange = { method: 'POST', url, headers, body: json, kind: 'ping' } as const;
      const answer = await this.#send(exchange, { signal });
      const { status } = answer;
      const retryAfterSeconds = retryAfterSecondsOf(answer.headers, clock.now());
      await this.#discard(answer, signal);
      return {
        kind: 'answered',
        status,
        retryAfterMs: retryAfterSeconds === undefined ? undefined : retryAfterSeconds * 1_000,
      };
    } catch (cause) {
      signal.throwIfAborted();
      return { kind: 'failed', reason: reasonOf(cause) };
    }
  }

  close(): Promise<void> {
    return this.#connections.close();
  }

  /** The status decides: what comes after it does not matter. A long or slow body costs its connection. */
  async #discard(answer: Parameters<typeof readAtMost>[0], signal: AbortSignal): Promise<void> {
    const { withinMs = usuallyWithinMs } = this.#deps;
    await readAtMost(answer, maxSmallBodyBytes, { signal, withinMs }).catch(() => undefined);
    answer.body.destroy();
  }
}

/** A word for a failure of the network, as for upstreams; else the message, which names no secret. */
function reasonOf(cause: unknown): string {
  if (cause instanceof UpstreamError) return cause.reason;
  return cause instanceof Error ? cause.message : String(cause);
}
