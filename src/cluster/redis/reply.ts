import { createHash } from 'node:crypto';
import { RedisUnavailable } from './failure.ts';

/** What Redis replies, as RESP2 has it. */
export type Reply = string | number | null | readonly Reply[];

export type Argument = string | number | Buffer;

/** A Lua script, sent by its hash. Its name goes into metrics. */
export interface Script {
  readonly name: string;
  readonly lua: string;
  readonly sha: string;
  /** Its reply may have bytes that are no text. */
  readonly isBinary?: boolean;
  /** How long its reply may take, if longer than that of other commands. */
  readonly withinMs?: number;
}

export function redisScript(name: string, lua: string, options: Pick<Script, 'isBinary' | 'withinMs'> = {}): Script {
  return { name, lua, sha: createHash('sha1').update(lua).digest('hex'), ...options };
}

/** A reply of the client; bytes become a text with a character for each (Latin-1). @throws RedisUnavailable `reply` for anything that RESP2 does not have. */
export function parseReply(value: unknown): Reply {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'number') return value;
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  if (Array.isArray(value)) return value.map(parseReply);
  throw new RedisUnavailable('reply', { cause: new Error(`a reply of type ${typeof value}`) });
}

/** @throws RedisUnavailable `reply` for another shape. */
export function textIn(reply: Reply | undefined): string {
  if (typeof reply === 'string') return reply;
  throw unexpected('a text', reply);
}

/** @throws RedisUnavailable `reply` for another shape. */
export function numberIn(reply: Reply | undefined): number {
  const value = typeof reply === 'string' && reply !== '' ? Number(reply) : reply;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw unexpected('a number', reply);
}

/** @throws RedisUnavailable `reply` for another shape. */
export function listIn(reply: Reply | undefined): readonly Reply[] {
  if (typeof reply === 'object' && reply !== null) return reply;
  throw unexpected('a list', reply);
}

/** @throws RedisUnavailable `reply` for another shape. */
export function textsIn(reply: Reply | undefined): readonly string[] {
  return listIn(reply).map(textIn);
}

function unexpected(wanted: string, reply: Reply | undefined): RedisUnavailable {
  const found = Array.isArray(reply) ? 'a list' : `${reply === null ? 'nothing' : typeof reply}`;
  return new RedisUnavailable('reply', { cause: new Error(`expected ${wanted}, got ${found}`) });
}
