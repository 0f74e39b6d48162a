import { randomUUID } from 'node:crypto';
import { type Argument, listIn, numberIn, type Reply, type Script, textIn } from '../../cluster/redis/reply.ts';
import type { RedisCommands } from '../../cluster/redis/connection.ts';
import type { Totals } from '../../mirror/ports/store-index.ts';
import type { Digest } from '../../oci/digest.ts';
import { digestOfKey } from './rows.ts';
import { binaryScript, header, keyCount, keysByName, layoutVersion, makeEmpty, viewKeys } from './view-layout.ts';
import { applyRows } from './write-scripts.ts';

/**
 * Opens the view for one process, or makes an empty one. From here on it is incomplete, until it is closed.
 * Arguments: the state of its writes, this run of the store, the one before, `storage.keep`, the time.
 * Reply: the state that it was left in; whether it is new, was seen by the last run, and is complete; the number of the rebuild; since when
 * every use is recorded; the totals.
 */
const openView = binaryScript(
  'index-open',
  `${keysByName}
local before = call('HGET', STATE, 'at') or ''
local isNew = call('EXISTS', unpack(KEYS)) ~= ${keyCount} or call('HGET', STATE, 'version') ~= '${layoutVersion}'
if isNew then
  call('UNLINK', unpack(KEYS))
  ${makeEmpty}
  call('HSET', STATE, 'version', '${layoutVersion}', 'rebuild', 0, 'bytes', 0, 'disk', 0, 'kept', 0, 'manifests', 0, 'blobs', 0, 'records', 0)
end
if not call('HGET', STATE, 'manifestbytes') then
  local bytes = 0
  for _, digest in ipairs(call('HKEYS', IMAGES)) do
    local row = digest ~= '' and call('HGET', CONTENT, digest)
    if row then bytes = bytes + select(3, struct.unpack('>BI3I6', row)) end
  end
  call('HSET', STATE, 'manifestbytes', bytes)
end
local isSeen = not isNew and ARGV[3] ~= '' and call('HGET', STATE, 'run') == ARGV[3]
local isComplete = isSeen and call('HGET', STATE, 'complete') == '1' and call('HGET', STATE, 'keep') == ARGV[4]
if not isComplete then call('HINCRBY', STATE, 'rebuild', 1) end
if not isSeen then call('HSET', STATE, 'watching', ARGV[5]) end
call('HSET', STATE, 'at', ARGV[1], 'run', ARGV[2], 'keep', ARGV[4], 'complete', '0')
return {before, isNew and 1 or 0, isSeen and 1 or 0, isComplete and 1 or 0,
  call('HGET', STATE, 'rebuild'), call('HGET', STATE, 'watching'), counted()}`,
);

/** Marks the view as complete: the process that used it has written everything. */
const closeView = binaryScript('index-close', `${header} call('HSET', STATE, 'complete', '1') return {'ok'}`);

/** Whether the view is as this process left it. */
const checkView = binaryScript('index-check', `${header} return {'ok'}`);

/** The view is not as this process left it: it must be rebuilt. */
export class ViewLost extends Error {
  override readonly name = 'ViewLost';
}

export interface ViewDeps {
  readonly redis: Pick<RedisCommands, 'run'>;
  readonly keyPrefix: string;
  readonly storeId: string;
}

export interface OpenedView {
  /** Whether it was closed complete by the last run of the store. */
  readonly isComplete: boolean;
  /** Whether the last run of the store used it: its totals are those of the store. */
  readonly isCounted: boolean;
  readonly watchingSinceMs: number;
  readonly totals: Totals;
}

export interface Applied {
  readonly unknownUses: readonly Digest[];
  /** Manifests of which names are left. */
  readonly unfinished: readonly Digest[];
  readonly totals: Totals;
}

/** After this many writes whose outcome is not known the view counts as lost. */
const maxUnanswered = 64;

/**
 * The view of a store in Redis. Every write gives it a new state, and every script says which states it may be in: the last that Redis
 * confirmed, and those of writes since whose outcome is not known. So a view that lost writes, or that another process writes to, is noticed.
 */
export class View {
  readonly #redis: Pick<RedisCommands, 'run'>;
  readonly #keys: readonly string[];
  readonly #process = randomUUID();
  #number = 0;
  /** The states that the view may be in; the last confirmed one first. */
  #states: string[] = [];
  #rebuild = 0;

  constructor({ redis, ...named }: ViewDeps) {
    this.#redis = redis;
    this.#keys = viewKeys(named);
  }

  /** The number of the rebuild that rows are written by. */
  get rebuild(): number {
    return this.#rebuild;
  }

  /** Takes the view over for this process. One of another version, or that has lost keys, is made again. @throws RedisUnavailable */
  async open(by: {
    readonly run: string;
    readonly lastRun: string | undefined;
    readonly keep: readonly string[];
    readonly nowMs: number;
  }): Promise<OpenedView> {
    const next = this.#nextState();
    const args = [next, by.run, by.lastRun ?? '', JSON.stringify(by.keep), by.nowMs];
    const reply = listIn(await this.#redis.run({ script: openView, keys: this.#keys, args }));
    this.#states = [next];
    this.#rebuild = numberIn(reply[4]);
    return {
      isCounted: numberIn(reply[2]) === 1,
      isComplete: numberIn(reply[3]) === 1,
      watchingSinceMs: numberIn(reply[5]),
      totals: totalsIn(reply[6]),
    };
  }

  /** One write at a time. @throws ViewLost; RedisUnavailable when the rows may or may not have been written */
  async apply(rows: readonly Buffer[], nowMs: number): Promise<Applied> {
    const next = this.#nextState();
    const expected = this.#expected();
    if (this.#states.length > maxUnanswered) throw new ViewLost('Redis did not answer to too many writes');
    this.#states.push(next);
    const reply = await this.#run(applyRows, expected, [next, this.#rebuild, nowMs, ...rows]);
    this.#states = [next];
    return {
      unknownUses: listIn(reply[0]).map((key) => digestOfKey(textIn(key))),
      unfinished: listIn(reply[1]).map((key) => digestOfKey(textIn(key))),
      totals: totalsIn(reply[2]),
    };
  }

  /** @throws ViewLost, RedisUnavailable */
  read(script: Script, args: readonly Argument[]): Promise<readonly Reply[]> {
    return this.#run(script, this.#expected(), args);
  }

  /** @throws ViewLost, RedisUnavailable */
  async check(): Promise<void> {
    await this.read(checkView, []);
  }

  /** Marks the view as complete. @throws ViewLost, RedisUnavailable */
  async close(): Promise<void> {
    await this.read(closeView, []);
  }

  async #run(script: Script, expected: string, args: readonly Argument[]): Promise<readonly Reply[]> {
    const reply = await this.#redis.run({ script, keys: this.#keys, args: [expected, ...args] });
    const [outcome, ...rest] = listIn(reply);
    if (outcome === 'ok') return rest;
    throw new ViewLost(this.#reason(textIn(rest[0])));
  }

  #reason(state: string): string {
    if (state === '') return 'Redis lost it: its keys were flushed or evicted';
    if (state.startsWith(this.#process)) return 'Redis lost some of it, such as in a failover';
    return 'another process writes to it: is the store a copy of another, with the same store-id?';
  }

  #nextState(): string {
    this.#number += 1;
    return `${this.#process}.${this.#number}`;
  }

  #expected(): string {
    return `|${this.#states.join('|')}|`;
  }
}

function totalsIn(reply: Reply | undefined): Totals {
  const [bytes, diskBytes, keptBytes, manifests, blobs, records, manifestBytes] = listIn(reply).map(numberIn);
  return {
    bytes: bytes ?? 0,
    manifestBytes: manifestBytes ?? 0,
    diskBytes: diskBytes ?? 0,
    keptBytes: keptBytes ?? 0,
    manifests: manifests ?? 0,
    blobs: blobs ?? 0,
    records: records ?? 0,
  };
}
