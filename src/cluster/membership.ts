import { randomBytes } from 'node:crypto';
import type { ClusterObserver } from '../mirror/ports/observer.ts';
import type { Waiting } from '../mirror/ports/waiting.ts';
import { abortable } from '../mirror/concurrency/abortable-wait.ts';
import type { RedisCommands, RedisConnection } from './redis/connection.ts';
import { textsIn } from './redis/reply.ts';
import { type ClusterKeys, heartbeat } from './replica-scripts.ts';

/** A replica, and where the others reach it. */
export interface Replica {
  readonly id: string;
  /** The origin of its listener, such as `http://10.0.0.7:5002`. */
  readonly address: string;
}

/** Milliseconds. */
export interface MembershipTimes {
  readonly beatMs: number;
  /** A replica that is not heard of for this long is no member. */
  readonly lifetimeMs: number;
}

export interface MembershipDeps {
  readonly self: Replica;
  readonly redis: RedisCommands & Pick<RedisConnection, 'onChange'>;
  readonly keys: ClusterKeys;
  readonly observer: Pick<ClusterObserver, 'replicasKnown'>;
  readonly times?: MembershipTimes;
}

const usualTimes: MembershipTimes = { beatMs: 3_000, lifetimeMs: 10_000 };
/** More are not known to each other. */
const maxReplicas = 1_000;

/** An id that no other process has, with the name that an operator gave. Ids have no spaces. */
export function newReplicaId(name: string | undefined): string {
  const random = randomBytes(6).toString('hex');
  return name === undefined ? random : `${name}.${random}`;
}

/** `<replica id> <address>`. */
export function replicaText({ id, address }: Replica): string {
  return `${id} ${address}`;
}

/** @returns undefined for any other text. */
export function parseReplica(text: string): Replica | undefined {
  const [id, address, ...rest] = text.split(' ');
  return id === undefined || id === '' || address === undefined || rest.length > 0 ? undefined : { id, address };
}

/** Tells the other replicas that this one lives, and which of them do. */
export class Membership {
  readonly #deps: MembershipDeps;
  readonly #listeners = new Set<(others: readonly Replica[]) => void>();
  #others: readonly Replica[] = [];
  #timer: NodeJS.Timeout | undefined;
  #watch: Disposable | undefined;
  #hasLeft = false;
  #refreshing: Promise<void> | undefined;

  constructor(deps: MembershipDeps) {
    this.#deps = deps;
  }

  get self(): Replica {
    return this.#deps.self;
  }

  /** The replicas at other addresses, as of the last answer of Redis: while it is away, those that were there before. */
  get others(): readonly Replica[] {
    return this.#others;
  }

  /** Whether this is the first of the replicas that are known, by their ids. */
  get isFirst(): boolean {
    return this.#others.every(({ id }) => this.self.id < id);
  }

  /** Whether a replica was live at the last answer of Redis. */
  isLive(id: string): boolean {
    return this.#others.some((other) => other.id === id);
  }

  /** Asks Redis at once: a replica that was named a moment ago may not be known yet. Concurrent calls ask once. Never rejects. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#beat().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** Calls `listener` with the others whenever they change. @returns what ends that */
  onChange(listener: (others: readonly Replica[]) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Resolves when Redis has answered, or cannot. */
  async start(): Promise<void> {
    const { redis, times = usualTimes } = this.#deps;
    clearInterval(this.#timer);
    this.#watch?.[Symbol.dispose]();
    this.#timer = setInterval(() => void this.#beat(), times.beatMs).unref();
    this.#watch = redis.onChange(({ state }) => {
      if (state === 'up') void this.#beat();
    });
    await this.#beat();
  }

  /** Leaves: no other replica asks this one any more. What it serves to them goes on. Never fails. */
  async leave({ signal }: Waiting): Promise<void> {
    const { redis, keys, self } = this.#deps;
    clearInterval(this.#timer);
    this.#watch?.[Symbol.dispose]();
    this.#hasLeft = true;
    const left = redis.call('leave', { command: 'ZREM', args: [keys.replicas(), replicaText(self)] });
    await abortable(left, signal).catch(() => {});
  }

  async #beat(): Promise<void> {
    const { redis, keys, self, times = usualTimes } = this.#deps;
    try {
      const args = [replicaText(self), times.lifetimeMs, maxReplicas];
      const members = textsIn(await redis.run({ script: heartbeat, keys: [keys.replicas()], args }));
      if (!this.#hasLeft) this.#learn(members);
      else await redis.call('leave', { command: 'ZREM', args: [keys.replicas(), replicaText(self)] });
    } catch {
      // The connection tells why. The others are those of before.
    }
  }

  #learn(members: readonly string[]): void {
    const { observer, self } = this.#deps;
    const replicas = members.map(parseReplica).filter((replica) => replica !== undefined);
    // What is at our own address is a former process of this replica, or another one that is configured as this one: there is no way to it.
    const isOther = ({ id, address }: Replica) => id !== self.id && address !== self.address;
    const others = replicas.filter(isOther).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    const isSame = textOf(others) === textOf(this.#others);
    this.#others = others;
    observer.replicasKnown({ replicas: others.length + 1 });
    if (!isSame) for (const listener of this.#listeners) listener(others);
  }
}

function textOf(replicas: readonly Replica[]): string {
  return replicas.map(replicaText).join('\n');
}
