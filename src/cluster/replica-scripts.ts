import type { ContentQuestion } from '../mirror/ports/shared-work.ts';
import { type RepositoryId, repositoryKey } from '../mirror/ports/repository-id.ts';
import type { Tag } from '../oci/reference.ts';
import { redisScript } from './redis/reply.ts';

// All times are those of Redis, in milliseconds: no clock of a replica is trusted. Each script touches keys of one hash tag, so that it runs in
// a Cluster too. What takes memory is written first: after another write Redis lets a script go on beyond its bound.

const now = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** A lease that lasts longer than any does, or for ever, is nobody's: no replica wrote it. */
const leaseIn = `
local function leaseIn(key, lifetime)
  local left = redis.call('PTTL', key)
  return left >= 0 and left <= 10 * lifetime and redis.call('GET', key)
end
`;

/** The keys of what replicas tell each other. Each expires by itself. */
export function clusterKeys(keyPrefix: string) {
  const prefix = `${keyPrefix}:v1:cluster`;
  const content = ({ repositoryId, digest }: ContentQuestion) => `${prefix}:{${repositoryId.upstream}/${digest}}`;
  const tag = (repositoryId: RepositoryId, name: Tag) => `${prefix}:{${repositoryKey(repositoryId)}:${name}}`;
  return {
    /** Sorted set: `<replica id> <address>` by when it expires. */
    replicas: () => `${prefix}:replicas`,
    /** `<replica id> <token>` of the one that sweeps the shared bucket. */
    sweep: () => `${prefix}:sweep`,
    /** Hash: what the shared bucket held after its last sweep, and what was uploaded since. See bucket/bucket-count.ts. */
    bucket: () => `${prefix}:bucket`,
    /** `<replica id> <token> <address> <repository>`. */
    lease: (question: ContentQuestion) => `${content(question)}:lease`,
    /** Sorted set: `<replica id> <address>` by when it expires; of those that have it in this repository. */
    holders: (question: ContentQuestion) => `${content(question)}:holders:${question.repositoryId.repository}`,
    /** What the upstream answered, as JSON. */
    tag: (repositoryId: RepositoryId, name: Tag) => `${tag(repositoryId, name)}:tag`,
    /** `<replica id> <token>`. */
    tagLease: (repositoryId: RepositoryId, name: Tag) => `${tag(repositoryId, name)}:tag-lease`,
  };
}

export type ClusterKeys = ReturnType<typeof clusterKeys>;

/**
 * KEYS replicas. ARGV member, lifetime, most members. Returns the live members. Dropped are those that are too long to be one, or expire too late:
 * the clock of Redis was ahead when they were written.
 */
export const heartbeat = redisScript(
  'heartbeat',
  `${now}
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + 10 * ARGV[2], '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local live = {}
for _, member in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[3] - 1)) do
  if #member <= 1024 then live[#live + 1] = member else redis.call('ZREM', KEYS[1], member) end
end
return live`,
);

/**
 * KEYS lease, holders. ARGV replica id, token, address, repository, lifetime, most holders, ids of replicas that failed, ids of replicas that
 * have it no longer; both with a space before and after each. Returns `stored` with the holders, `held` with the lease of another, or `mine`
 * with the token and whether another lost it. What is no `<replica id> <address>`, or too long to be one, is dropped.
 */
export const claimContent = redisScript(
  'claim',
  `${now}${leaseIn}
local id, failed, gone = ARGV[1], ARGV[7], ARGV[8]
local function idOf(text) return string.match(text, '^(%S+) %S') end
local function isUsable(text) return #text <= 1024 and idOf(text) ~= nil end
local function isIn(list, text) return string.find(list, ' ' .. idOf(text) .. ' ', 1, true) ~= nil end
local found = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf', 'LIMIT', 0, 2 * ARGV[6])) do
  if not isUsable(member) or isIn(gone, member) or idOf(member) == id then redis.call('ZREM', KEYS[2], member)
  elseif not isIn(failed, member) then found[#found + 1] = member end
end
if #found > 0 then return {'stored', found} end
local lease = leaseIn(KEYS[1], ARGV[5])
if lease and not isUsable(lease) then lease = false end
if lease and idOf(lease) == id then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {'mine', string.match(lease, '^%S+ (%S+)'), 0}
end
if lease and not isIn(failed, lease) and not isIn(gone, lease) then return {'held', lease} end
redis.call('SET', KEYS[1], id .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4], 'PX', ARGV[5])
return {'mine', ARGV[2], lease and 1 or 0}`,
);

/** KEYS lease. ARGV the whole lease, lifetime. One that Redis forgot is set again. Returns 1, or 0 when another holds it. */
export const renewLease = redisScript(
  'renew',
  `${leaseIn}
local lease = leaseIn(KEYS[1], ARGV[2])
if lease == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if lease then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`,
);

/** KEYS lease. ARGV the whole lease, lifetime. One that is over stays over: others may have asked since. */
export const extendLease = redisScript(
  'extend',
  `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0`,
);

/** KEYS lease. ARGV the whole lease. Another's lease stays. */
export const releaseLease = redisScript(
  'release',
  `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`,
);

/** KEYS holders, lease. ARGV member, lifetime, most holders, replica id. Names a holder, and releases its lease. */
export const nameHolder = redisScript(
  'holder',
  `${now}
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local lease = redis.call('GET', KEYS[2])
if lease and string.match(lease, '^(%S+)') == ARGV[4] then redis.call('DEL', KEYS[2]) end
return 1`,
);

/** KEYS tag, tag-lease. ARGV `<replica id> <token>`, lifetime, replica id. Its own lease it may take again. Returns `answered` with the hint and what is left of it, `held`, or `ask`. */
export const claimTag = redisScript(
  'tag',
  `${leaseIn}
local hint = redis.call('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if hint and #hint <= 4096 and left > 0 then return {'answered', hint, left} end
local lease = leaseIn(KEYS[2], ARGV[2])
if lease and string.match(lease, '^(%S+)') ~= ARGV[3] then return {'held'} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'ask'}`,
);

/**
 * KEYS tag, tag-lease. ARGV hint, its lifetime, `<replica id> <token>`. What is told after the lease was lost may be old: it is dropped. Returns 1,
 * or 0 then.
 */
export const answerTag = redisScript(
  'tag_answer',
  `
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1`,
);
