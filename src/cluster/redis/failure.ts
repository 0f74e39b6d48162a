/** Why Redis gave no usable answer, in one word. */
export type RedisFailure =
  /** The connection could not be made, or was lost. */
  | 'connect'
  | 'dns'
  | 'tls'
  /** The user or the password is wrong. */
  | 'auth'
  | 'timeout'
  /** It loads its data, waits for its primary, or is a Cluster without all its slots. */
  | 'unready'
  /** A replica, after a failover. */
  | 'readonly'
  /** It takes no writes: its memory is full, or it cannot write to its disk. */
  | 'full'
  /** It refused the command: mostly a rule of its ACL. */
  | 'refused'
  /** Too many commands are waiting for it. */
  | 'busy'
  /** The reply has not the shape that was asked for. */
  | 'reply'
  /** The connection was stopped. */
  | 'stopped';

/** Redis gave no usable answer. What was asked for is treated as unknown: nothing is refused because of this. */
export class RedisUnavailable extends Error {
  override readonly name = 'RedisUnavailable';
  readonly reason: RedisFailure;

  constructor(reason: RedisFailure, options?: ErrorOptions) {
    super(`Redis gave no usable answer: ${reason}`, options);
    this.reason = reason;
  }
}

/** By the first word of an error of Redis. Before version 7, what failed inside a script comes after `ERR … -`. */
const reasonsByCode: ReadonlyMap<string, RedisFailure> = new Map([
  ['NOAUTH', 'auth'],
  ['WRONGPASS', 'auth'],
  ['READONLY', 'readonly'],
  ['OOM', 'full'],
  ['MISCONF', 'full'],
  ['NOREPLICAS', 'full'],
  ['LOADING', 'unready'],
  ['MASTERDOWN', 'unready'],
  ['CLUSTERDOWN', 'unready'],
  ['TRYAGAIN', 'unready'],
  ['MOVED', 'unready'],
  ['ASK', 'unready'],
  ['BUSY', 'timeout'],
]);

const dnsCodes = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL']);
const tlsCode = /^(?:CERT_|ERR_TLS|ERR_SSL|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|EPROTO|HOSTNAME_MISMATCH)/;

/** The word for an error of Redis, of ioredis or of the network. */
export function failureOf(cause: unknown): RedisFailure {
  if (cause instanceof RedisUnavailable) return cause.reason;
  if (!(cause instanceof Error)) return 'connect';
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  if (dnsCodes.has(code)) return 'dns';
  if (tlsCode.test(code)) return 'tls';
  if (cause.message === 'Command timed out' || cause.name === 'TimeoutError') return 'timeout';
  if (cause.name !== 'ReplyError') return 'connect';
  const words = /^(?:ERR .*?-)?([A-Z]+) /.exec(cause.message);
  const word = words?.[1] ?? '';
  if (/invalid (?:username-password|password)/i.test(cause.message)) return 'auth';
  return reasonsByCode.get(word) ?? 'refused';
}

/**
 * The error without what may be secret: ioredis adds the command, which for AUTH holds the password, and Redis quotes the arguments of a
 * command that it does not know.
 */
export function withoutSecrets(cause: unknown): Error {
  if (!(cause instanceof Error)) return new Error('unknown error');
  const plain = new Error(cause.message.replace(/,? with args beginning with.*$/s, ''));
  plain.name = cause.name;
  return 'code' in cause ? Object.assign(plain, { code: cause.code }) : plain;
}
