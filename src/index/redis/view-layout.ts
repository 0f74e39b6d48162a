import { redisScript, type Script } from '../../cluster/redis/reply.ts';

/*
 * The view of a store in Redis: these keys, all in one slot, named `<prefix>:v1:{<store id>}:<key>`.
 *
 *     state         version, last run, state of the writes, whether it was closed complete, number of the last rebuild, totals
 *     content       digest → manifest or blob, rebuild, size, last use
 *     lru           what may be evicted, by last use: what no stored manifest names and no kept repository is linked to
 *     links         digest, kind, repository, rebuild, size, media type
 *     held          repository, kind, digest
 *     kept          digest, kind, repository: the links of repositories that `storage.keep` names
 *     names         manifest and number → up to 64 digests that it names
 *     parents       digest, manifest that names it
 *     repositories  numbers of repositories and upstreams by name, and names by number
 *     catalog       names of repositories with links or tags
 *     stalest       repositories with links that are not kept, by last use
 *     tags          repository, tag, digest, rebuild
 *     tagged        digest, repository, tag
 *     images        stored manifest → first use, length of it and what it names, the same with stored images of an index, media type, platforms
 *     imageuses     manifests with tags, by last use; 0 if they are not stored
 *     imagesizes    the same by size
 *     uses          repositories with links, by last use
 *     sizes         the same by the bytes of their links
 *     platforms     repository, platform that an image of it has or had
 *
 * A digest is a byte for its algorithm and its bytes; a repository seven bytes, of which the first three are its upstream. `links`, `held`,
 * `kept`, `parents`, `catalog`, `tags`, `tagged` and `platforms` are sorted sets without scores: ranges of their members are read by what they begin with.
 * Each key has an empty member, so that all of them exist as long as Redis has lost nothing.
 */

/** Raised with every change of the layout: a view of another version is discarded and rebuilt from the store. */
export const layoutVersion = 2;

const hashes = ['content', 'names', 'repositories', 'images'];
const byValue = ['lru', 'stalest', 'imageuses', 'imagesizes', 'uses', 'sizes'];
const names = [
  'state',
  'content',
  'lru',
  'links',
  'held',
  'kept',
  'names',
  'parents',
  'repositories',
  'catalog',
  'stalest',
  'tags',
  'tagged',
  'images',
  'imageuses',
  'imagesizes',
  'uses',
  'sizes',
  'platforms',
] as const;

export const keyCount = names.length;

/** The keys of a view, in the order in which scripts get them. */
export function viewKeys({ keyPrefix, storeId }: { readonly keyPrefix: string; readonly storeId: string }): string[] {
  return names.map((name) => `${keyPrefix}:v1:{${storeId}}:${name}`);
}

/** Lua: the keys by name, and the totals. */
export const keysByName = `
local ${names.map((name) => name.toUpperCase()).join(', ')} = unpack(KEYS)
local call = redis.call
local function counted()
  return call('HMGET', STATE, 'bytes', 'disk', 'kept', 'manifests', 'blobs', 'records', 'manifestbytes')
end
`;

/** Lua: makes an empty view. */
export const makeEmpty = names
  .filter((name) => name !== 'state')
  .map((name) => {
    const key = name.toUpperCase();
    if (hashes.includes(name)) return `call('HSET', ${key}, '', '')`;
    return `call('ZADD', ${key}, ${byValue.includes(name) ? -1 : 0}, '')`;
  })
  .join('\n');

/**
 * Lua at the beginning of every script but the first: ends it with `lost` unless the view is in one of the states that this process knows.
 * Then writes were lost in a failover, keys were flushed or evicted, or another process uses the view.
 */
export const header = `${keysByName}
do
  local at = call('HGET', STATE, 'at') or ''
  local isKnown = string.find(ARGV[1], '|' .. at .. '|', 1, true)
  if not isKnown or call('EXISTS', unpack(KEYS)) ~= ${keyCount} then return {'lost', at} end
end
local function first(key, beginning)
  return call('ZRANGEBYLEX', key, '[' .. beginning, '(' .. beginning .. '\\255', 'LIMIT', 0, 1)[1]
end
local function read(digest)
  local row = call('HGET', CONTENT, digest)
  if not row or row == '' then return nil end
  local manifest, seen, size, used = struct.unpack('>BI3I6I6', row)
  return {manifest = manifest, seen = seen, size = size, used = used}
end
local function digestAt(text, from)
  return string.sub(text, from, from + (string.byte(text, from) == 50 and 32 or 64))
end
local function digests(text)
  local from = 1
  return function()
    if from > #text then return nil end
    local digest = digestAt(text, from)
    from = from + #digest
    return digest
  end
end
`;

/** A script on the keys of a view. */
export function binaryScript(name: string, lua: string, options: Pick<Script, 'withinMs'> = {}): Script {
  return redisScript(name, lua, { ...options, isBinary: true });
}
