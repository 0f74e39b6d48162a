import { describe, expect, test } from 'vitest';
import { failureOf, RedisUnavailable, withoutSecrets } from '../../../../src/cluster/redis/failure.ts';
import { listIn, numberIn, parseReply, textIn } from '../../../../src/cluster/redis/reply.ts';
import { harmfulPolicy, pauseMs, serverFacts } from '../../../../src/cluster/redis/server-facts.ts';
import { parseRedisUrl } from '../../../../src/cluster/redis/settings.ts';

const replyError = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });
const networkError = (code: string) => Object.assign(new Error('no connection'), { code });

test.each([
  [replyError('WRONGPASS invalid username-password pair or user is disabled.'), 'auth'],
  [replyError('ERR invalid password'), 'auth'],
  [replyError('NOAUTH Authentication required.'), 'auth'],
  [replyError("NOPERM this user has no permissions to run the 'eval' command"), 'refused'],
  [replyError("READONLY You can't write against a read only replica."), 'readonly'],
  [replyError("OOM command not allowed when used memory > 'maxmemory'. script: 1, on @user_script:1."), 'full'],
  [
    replyError('ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed'),
    'full',
  ],
  [replyError('MISCONF Redis is configured to save RDB snapshots, but it is unable to persist on disk.'), 'full'],
  [replyError('LOADING Redis is loading the dataset in memory'), 'unready'],
  [replyError('MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to no.'), 'unready'],
  [replyError('CLUSTERDOWN The cluster is down'), 'unready'],
  [replyError("ERR unknown command 'X'"), 'refused'],
  [replyError('WRONGTYPE Operation against a key holding the wrong kind of value'), 'refused'],
  [networkError('ECONNREFUSED'), 'connect'],
  [networkError('ENOTFOUND'), 'dns'],
  [networkError('SELF_SIGNED_CERT_IN_CHAIN'), 'tls'],
  [networkError('ERR_TLS_CERT_ALTNAME_INVALID'), 'tls'],
  [new Error('Command timed out'), 'timeout'],
  [new DOMException('', 'TimeoutError'), 'timeout'],
  [new Error('Connection is closed.'), 'connect'],
  [new RedisUnavailable('busy'), 'busy'],
  ['no error', 'connect'],
] as const)('%s is %s', (cause, reason) => {
  expect(failureOf(cause)).toBe(reason);
});

test('an error is told without the command, whose arguments may be a password', () => {
  const message = "ERR unknown command 'AUTH', with args beginning with: 'user' 'canary'";
  const error = Object.assign(replyError(message), { command: { name: 'auth', args: ['user', 'canary'] } });
  const told = withoutSecrets(error);
  expect(told.message).toBe("ERR unknown command 'AUTH'");
  expect(told).not.toHaveProperty('command');
});

describe('a URL of Redis', () => {
  test.each([
    ['redis://host', { host: 'host', port: 6_379, isTls: false }],
    [
      'rediss://u:p%40ss@[::1]:6380/4',
      { host: '::1', port: 6_380, isTls: true, username: 'u', password: 'p@ss', database: 4 },
    ],
    ['redis://:p@host/', { host: 'host', username: undefined, password: 'p', database: undefined }],
  ])('%s', (url, parsed) => {
    expect(parseRedisUrl(url)).toMatchObject(parsed);
  });

  test.each(['', 'host:6379', 'http://canary@host', 'redis://host/name', 'redis:///0'])('%j is none', (url) => {
    expect(() => parseRedisUrl(url)).toThrow('expected a URL such as redis://host:6379/0');
  });
});

test('replies of other shapes are no answer', () => {
  expect(parseReply(['a', 1, null, ['b']])).toEqual(['a', 1, null, ['b']]);
  const parsers = [() => parseReply({}), () => textIn(1), () => numberIn('x'), () => numberIn(''), () => listIn('a')];
  for (const parse of parsers) expect(parse).toThrow(RedisUnavailable);
});

test('a policy that evicts any key is told, one that evicts what expires is not', () => {
  const facts = (policy: string) => serverFacts(`loading:0\r\nrole:master\r\nmaxmemory_policy:${policy}\r\n`);
  expect(facts('noeviction')).toEqual({ isLoading: false, role: 'master', evictionPolicy: 'noeviction' });
  expect(harmfulPolicy([facts('noeviction'), facts('volatile-lru')])).toBeUndefined();
  expect(harmfulPolicy([facts('noeviction'), facts('allkeys-random')])).toBe('allkeys-random');
});

test('the pause before the next try doubles up to its bound, by a fifth more or less', () => {
  const backoff = { firstMs: 100, hungMs: 250, mostMs: 5_000 };
  const pauses = [1, 2, 3, 10, 1_000].map((failures) => pauseMs(backoff, { failures, isHung: false, random: 0.5 }));
  expect(pauses).toEqual([100, 200, 400, 5_000, 5_000]);
  expect(pauseMs(backoff, { failures: 1, isHung: true, random: 0 })).toBe(200);
  expect(pauseMs(backoff, { failures: 1, isHung: true, random: 1 })).toBeCloseTo(300);
});
