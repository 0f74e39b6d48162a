import { setTimeout as sleep } from 'node:timers/promises';
import { abortable, interruptible } from '../../mirror/concurrency/abortable-wait.ts';
import type { Clock } from '../../mirror/ports/clock.ts';
import type { ClusterObserver } from '../../mirror/ports/observer.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type Call, openClient, type RedisClient } from './client.ts';
import { failureOf, RedisUnavailable, type RedisFailure, withoutSecrets } from './failure.ts';
import { type Argument, parseReply, type Reply, type Script } from './reply.ts';
import { type Backoff, harmfulPolicy, pauseMs, type ServerFacts, serverFacts } from './server-facts.ts';
import type { RedisSettings } from './settings.ts';

/** Whether Redis answers. */
export interface RedisState {
  readonly state: 'connecting' | 'up' | 'down';
  /** Why it is down. */
  readonly reason?: RedisFailure;
  /** By the wall clock. */
  readonly sinceMs: number;
  /** A `maxmemory-policy` that may evict keys without an expiry, if the server has one. */
  readonly harmfulPolicy?: string;
}

/** A script with its keys and arguments. */
export interface ScriptCall {
  readonly script: Script;
  readonly keys: readonly string[];
  readonly args?: readonly Argument[];
}

/** What the parts that use Redis ask it. Nothing waits for longer than the timeout of a command, or that of its script. */
export interface RedisCommands {
  /** Runs a script. In a Cluster its keys are in one slot. @throws RedisUnavailable */
  run(call: ScriptCall): Promise<Reply>;
  /** @param name for metrics; from a fixed list. @throws RedisUnavailable */
  call(name: string, call: Call): Promise<Reply>;
  /**
   * Sends commands in one write, at most {@link maxBatch}; in a Cluster their keys are in one slot. They are no transaction.
   * @throws RedisUnavailable when one of them failed; the others may have been done
   */
  batch(name: string, calls: readonly Call[]): Promise<readonly Reply[]>;
}

/** The most commands of one batch. */
const maxBatch = 1_000;
/** The most commands that wait for a reply; beyond that a command fails at once. A batch counts as one. */
export const maxPending = 4_096;

const defaultCommandMs = 200;
/** How long the start waits for Redis. */
const startWithinMs = 500;
/** A connection that held this long makes former failures forgotten. */
const steadyAfterMs = 10_000;
/** How often the policy of the servers is looked at again: it may be changed while they run. */
const defaultPolicyEveryMs = 60_000;
/** While Redis does not answer the handshake no command is sent, so that the first pauses can be short: it may have been one slow command. */
const defaultBackoff: Backoff = { firstMs: 100, hungMs: 250, mostMs: 5_000 };

/** After these the connection is replaced: the server hangs, is another since a failover, or no longer knows us. */
const endingFailures: ReadonlySet<RedisFailure> = new Set(['timeout', 'readonly', 'auth']);

export interface RedisConnectionDeps {
  /** For metrics, such as `cluster`. */
  readonly name: string;
  readonly settings: RedisSettings;
  readonly clock: Clock;
  readonly observer: Pick<ClusterObserver, 'redisAnswered' | 'redisChanged'>;
  readonly backoff?: Backoff;
  /** How long a command waits for its reply. */
  readonly commandWithinMs?: number | undefined;
  /** How often the `maxmemory-policy` is looked at again. */
  readonly policyEveryMs?: number;
  readonly random?: () => number;
}

interface InUse {
  readonly client: RedisClient;
  readonly end: (cause: unknown) => void;
}

/**
 * The connection to Redis, made again whenever it is lost. A command that gets no reply in time ends it; until a new connection has answered
 * a handshake, commands fail at once. So a Redis that hangs costs one timeout, and then another one at most every few seconds.
 */
export class RedisConnection implements RedisCommands {
  readonly #deps: RedisConnectionDeps;
  readonly #stopped = new AbortController();
  readonly #listeners = new Set<(state: RedisState) => void>();
  #state: RedisState;
  #inUse: InUse | undefined;
  #pending = 0;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: RedisConnectionDeps) {
    this.#deps = deps;
    this.#state = { state: 'connecting', sinceMs: deps.clock.now() };
  }

  get state(): RedisState {
    return this.#state;
  }

  /** Calls `listener` at each change of the state. @returns what ends that */
  onChange(listener: (state: RedisState) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Begins to connect. Resolves when Redis has answered, or a moment later: never fails, because everything works without Redis. */
  async start(): Promise<void> {
    this.#change({ state: 'connecting' });
    const firstTry = Promise.withResolvers<void>();
    const watch = this.onChange(() => firstTry.resolve());
    this.#running = this.#keepConnected();
    await Promise.race([firstTry.promise, sleep(startWithinMs, undefined, { ref: false })]);
    watch[Symbol.dispose]();
  }

  /** Commands fail from now on. Resolves when the connection is closed, or the signal aborts. */
  async stop({ signal }: Waiting): Promise<void> {
    this.#stopped.abort(new RedisUnavailable('stopped'));
    this.#inUse?.end(this.#stopped.signal.reason);
    await abortable(this.#running, signal).catch(() => {});
  }

  run({ script, keys, args = [] }: ScriptCall): Promise<Reply> {
    const rest = [keys.length, ...keys, ...args];
    const { commandWithinMs = defaultCommandMs } = this.#deps;
    const withinMs = Math.max(commandWithinMs, script.withinMs ?? 0);
    const ask = async (client: RedisClient) => {
      try {
        return parseReply(
          await client.call({ command: 'EVALSHA', args: [script.sha, ...rest], isBinary: script.isBinary }),
        );
      } catch (cause) {
        if (!(cause instanceof Error && cause.message.startsWith('NOSCRIPT'))) throw cause;
        return parseReply(
          await client.call({ command: 'EVAL', args: [script.lua, ...rest], isBinary: script.isBinary }),
        );
      }
    };
    return this.#ask(script.name, ask, withinMs);
  }

  call(name: string, call: Call): Promise<Reply> {
    return this.#ask(name, async (client) => parseReply(await client.call(call)));
  }

  batch(name: string, calls: readonly Call[]): Promise<readonly Reply[]> {
    if (calls.length > maxBatch) throw new RangeError(`a batch of ${calls.length} commands`);
    return this.#ask(name, async (client) => {
      const replies = await client.batch(calls);
      const failed = replies.find((reply) => reply instanceof Error);
      if (failed !== undefined) throw failed;
      return replies.map(parseReply);
    });
  }

  async #ask<Result>(
    command: string,
    ask: (client: RedisClient) => Promise<Result>,
    withinMs = this.#deps.commandWithinMs,
  ): Promise<Result> {
    const { clock, observer, name } = this.#deps;
    const startedMs = clock.monotonicMs();
    const inUse = this.#inUse;
    try {
      if (inUse === undefined) throw new RedisUnavailable(this.#state.reason ?? 'connect');
      if (this.#pending >= maxPending) throw new RedisUnavailable('busy');
      this.#pending += 1;
      const result = await answeredInTime(ask(inUse.client), withinMs).finally(() => (this.#pending -= 1));
      observer.redisAnswered({
        connection: name,
        command,
        outcome: 'ok',
        durationMs: clock.monotonicMs() - startedMs,
      });
      return result;
    } catch (cause) {
      const reason = this.#stopped.signal.aborted ? 'stopped' : failureOf(cause);
      observer.redisAnswered({
        connection: name,
        command,
        outcome: inUse === undefined ? 'down' : reason,
        durationMs: clock.monotonicMs() - startedMs,
      });
      const error = cause instanceof RedisUnavailable ? cause : unavailable(reason, cause);
      if (endingFailures.has(reason)) inUse?.end(error);
      throw error;
    }
  }

  async #keepConnected(): Promise<void> {
    const { clock, settings, backoff = defaultBackoff, random = Math.random } = this.#deps;
    const { signal } = this.#stopped;
    let failures = 0;
    while (!signal.aborted) {
      let openedAtMs = Number.POSITIVE_INFINITY;
      let cause: unknown;
      try {
        const client = await openClient(settings, { signal });
        openedAtMs = clock.monotonicMs();
        cause = await this.#use(client);
      } catch (error) {
        cause = error;
      }
      const reason = failureOf(cause);
      failures = clock.monotonicMs() - openedAtMs >= steadyAfterMs ? 1 : failures + 1;
      this.#change({ state: 'down', reason: signal.aborted ? 'stopped' : reason }, cause);
      const isHung = openedAtMs !== Number.POSITIVE_INFINITY && endingFailures.has(reason);
      const delayMs = pauseMs(backoff, { failures, isHung, random: random() });
      await sleep(delayMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Uses a connection until it ends. @returns why it ended. @throws when the server is not ready to work */
  async #use(client: RedisClient): Promise<unknown> {
    const { policyEveryMs = defaultPolicyEveryMs } = this.#deps;
    let timer: NodeJS.Timeout | undefined;
    try {
      const servers = await this.#factsOf(client);
      this.#stopped.signal.throwIfAborted();
      const { promise: ended, resolve: end } = Promise.withResolvers<unknown>();
      this.#inUse = { client, end };
      this.#up(harmfulPolicy(servers));
      timer = setInterval(() => void this.#lookAtPolicy(client), policyEveryMs).unref();
      return await Promise.race([ended, client.ended]);
    } finally {
      clearInterval(timer);
      this.#inUse = undefined;
      client.close();
    }
  }

  #up(policy: string | undefined): void {
    this.#change({ state: 'up', ...(policy !== undefined && { harmfulPolicy: policy }) });
  }

  /** Never rejects: that Redis does not answer is noticed by the commands. */
  async #lookAtPolicy(client: RedisClient): Promise<void> {
    const infos = await answeredInTime(client.infos(), startWithinMs).catch(() => undefined);
    if (!infos || this.#inUse?.client !== client) return;
    const policy = harmfulPolicy(infos.map(serverFacts));
    if (policy !== this.#state.harmfulPolicy) this.#up(policy);
  }

  /** What the servers are. An ACL may keep that to itself. @throws when one of them is not ready to work */
  async #factsOf(client: RedisClient): Promise<readonly ServerFacts[]> {
    const { place } = this.#deps.settings;
    const infos = await answeredInTime(client.infos(), startWithinMs).catch((cause: unknown) => {
      if (failureOf(cause) === 'refused') return [];
      throw cause;
    });
    const servers = infos.map(serverFacts);
    if (servers.some(({ isLoading }) => isLoading)) throw new RedisUnavailable('unready');
    // Sentinel names the former primary until it has seen the failover.
    const isReplica = place.kind === 'sentinel' && servers.some(({ role }) => role === 'slave');
    if (isReplica) throw new RedisUnavailable('readonly');
    return servers;
  }

  #change(next: Omit<RedisState, 'sinceMs'>, cause?: unknown): void {
    const { clock, observer, name } = this.#deps;
    const { state, reason, harmfulPolicy: policy, sinceMs } = this.#state;
    const isSame = state === next.state && reason === next.reason && policy === next.harmfulPolicy;
    this.#state = { ...next, sinceMs: isSame ? sinceMs : clock.now() };
    if (!isSame || next.state === 'connecting') {
      const error = cause === undefined ? undefined : withoutSecrets(cause);
      observer.redisChanged({ connection: name, ...next, ...(error !== undefined && { cause: error }) });
    }
    for (const listener of this.#listeners) listener(this.#state);
  }
}

function unavailable(reason: RedisFailure, cause: unknown): RedisUnavailable {
  return new RedisUnavailable(reason, { cause: withoutSecrets(cause) });
}

/**
 * Settles as `work` does, or rejects with RedisUnavailable `timeout`. A reply that has arrived while this process was busy is read first: it
 * is no timeout.
 */
function answeredInTime<Result>(work: Promise<Result>, withinMs = defaultCommandMs): Promise<Result> {
  return interruptible(work, (giveUp) => {
    let immediate: NodeJS.Immediate | undefined;
    const late = (): void => giveUp(new RedisUnavailable('timeout'));
    const timer = setTimeout(() => {
      immediate = setImmediate(() => (immediate = setImmediate(late)));
    }, withinMs);
    return () => {
      clearTimeout(timer);
      clearImmediate(immediate);
    };
  });
}
