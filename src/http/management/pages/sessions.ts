import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../../../mirror/ports/clock.ts';
import { SecretCheck } from '../../siblings/secret-check.ts';
import type { GuardDeps } from '../guard.ts';

/** Somebody who has shown the management token. */
export interface Session {
  /** In every form of this session: other sites do not know it. */
  readonly formToken: string;
  /** What the next page tells. */
  notice: string | undefined;
}

export interface SessionsDeps extends Pick<GuardDeps, 'readToken'> {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** For tests. */
  readonly most?: number;
}

interface Kept extends Session {
  /** Of the token that it began with. */
  readonly tokenHash: string;
  readonly endsAtMs: number;
}

const mostSessions = 100;
export const sessionSeconds = 12 * 3_600;

/**
 * Sessions of browsers, in memory: a browser keeps the id of one, never the token. They end after twelve hours, with the process, and as soon
 * as the token is another one. Beyond the bound the oldest ends.
 */
export class Sessions {
  readonly #deps: SessionsDeps;
  /** By the hash of the id, the oldest first. */
  readonly #kept = new Map<string, Kept>();

  constructor(deps: SessionsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** @returns the id of a new session; undefined if this is not the token. @throws what `readToken` throws. */
  async begin(token: string): Promise<string | undefined> {
    const secret = await this.#deps.readToken?.();
    if (secret === undefined || !new SecretCheck({ secret }).accepts(token)) return undefined;
    const id = randomName();
    const endsAtMs = this.#deps.clock.monotonicMs() + sessionSeconds * 1_000;
    this.#kept.set(hashOf(id), { formToken: randomName(), notice: undefined, tokenHash: hashOf(secret), endsAtMs });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > (this.#deps.most ?? mostSessions) && oldest !== undefined) this.#kept.delete(oldest);
    return id;
  }

  /** The session with this id, if it still holds. While the token cannot be read, none does. */
  async find(id: string): Promise<Session | undefined> {
    const key = hashOf(id);
    const session = this.#kept.get(key);
    if (session === undefined) return undefined;
    const secret = await this.#deps.readToken?.().catch(() => undefined);
    if (secret === undefined) return undefined;
    if (session.endsAtMs > this.#deps.clock.monotonicMs() && hashOf(secret) === session.tokenHash) return session;
    this.#kept.delete(key);
    return undefined;
  }

  end(id: string): void {
    this.#kept.delete(hashOf(id));
  }
}

function randomName(): string {
  return randomBytes(32).toString('base64url');
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
