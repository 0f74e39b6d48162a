import type { Script } from '../../cluster/redis/reply.ts';
import { maxLinkedRepositories, maxTagsOfOne } from '../../mirror/ports/store-index.ts';
import { binaryScript, header } from './view-layout.ts';

/** Items that one script reads. */
export const pageSize = 250;
/** With more manifests than this that name a digest it is cheaper to go through the manifests of the repository. */
const manyParents = 200;

export function reading(name: string, body: string, options: Pick<Script, 'withinMs'> = {}): Script {
  return binaryScript(`index-${name}`, `${header}\n${body}`, options);
}

/** An operator may wait longer than a pull, and a read that waits does not end the connection that pulls use. */
const operatorsWaitMs = 1_000;

/** A script for operators only. */
export function readingForOperators(name: string, body: string): Script {
  return reading(name, body, { withinMs: operatorsWaitMs });
}

/** Lua: some members of a sorted set that begin with a text, after a position. */
export const page = `
local function page(key, beginning, after, limit)
  local from = after == '' and '[' .. beginning or '(' .. after
  return call('ZRANGEBYLEX', key, from, '(' .. beginning .. '\\255', 'LIMIT', 0, limit)
end
`;

/**
 * Arguments: repository, digest, kind of link, manifests that name the digest and are not in the view yet.
 * Reply: 1 and links, each as name, size and media type; 0 if nothing in the repository names the digest; 2 if the manifests that name the
 * digest are too many to look at.
 */
export const borrowableLinks = reading(
  'borrowable',
  `local id, digest, kind = call('HGET', REPOSITORIES, 'r' .. ARGV[2]), ARGV[3], ARGV[4]
if not id then return {'ok', 0} end
local isNamed = ARGV[5] == '1'
for i = 6, #ARGV do isNamed = isNamed or first(LINKS, ARGV[i] .. 'm' .. id) ~= nil end
if not isNamed then
  local parents = call('ZRANGEBYLEX', PARENTS, '[' .. digest, '(' .. digest .. '\\255', 'LIMIT', 0, ${manyParents})
  if #parents == ${manyParents} then return {'ok', 2} end
  for _, parent in ipairs(parents) do
    isNamed = first(LINKS, string.sub(parent, #digest + 1) .. 'm' .. id) ~= nil
    if isNamed then break end
  end
end
if not isNamed then return {'ok', 0} end
local beginning = digest .. kind .. string.sub(id, 1, 3)
local found = {'ok', 1}
for _, link in ipairs(call('ZRANGEBYLEX', LINKS, '[' .. beginning, '(' .. beginning .. '\\255', 'LIMIT', 0, ${maxLinkedRepositories})) do
  local _, size, from = struct.unpack('>I3I6', link, #digest + 9)
  found[#found + 1] = call('HGET', REPOSITORIES, 'i' .. string.sub(link, #digest + 2, #digest + 8))
  found[#found + 1] = size
  found[#found + 1] = string.sub(link, from)
end
return found`,
);

/** Arguments: repository, digest, position. Reply: whether one of the next manifests of the repository names the digest; the next position. */
export const namedInRepository = reading(
  'named',
  `${page}
local id = call('HGET', REPOSITORIES, 'r' .. ARGV[2])
if not id then return {'ok', 0, ''} end
local held = page(HELD, id .. 'm', ARGV[4], ${pageSize})
for _, member in ipairs(held) do
  if call('ZSCORE', PARENTS, ARGV[3] .. string.sub(member, #id + 2)) then return {'ok', 1, ''} end
end
return {'ok', 0, #held == ${pageSize} and held[#held] or ''}`,
);

/** Argument: digest. Reply: 1 if it is stored. */
export const hasContent = reading('has', `return {'ok', call('HEXISTS', CONTENT, ARGV[2])}`);

/** Links of a repository that are looked at together with other repositories: nearly always the first is to stored content. */
const fewLinks = 4;

/**
 * Arguments: name, limit. Reply: the next repositories with links, each as name and 1 if some of what it is linked to is stored, 0 if nothing is,
 * 2 if its many links are to be looked at.
 */
export const linkedRepositories = reading(
  'catalog',
  `${page}
local function stored(name)
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  if not id then return 0 end
  local held = page(HELD, id, '', ${fewLinks})
  for _, member in ipairs(held) do
    if call('HEXISTS', CONTENT, string.sub(member, #id + 2)) == 1 then return 1 end
  end
  return #held == ${fewLinks} and 2 or 0
end
local found = {'ok'}
for _, name in ipairs(call('ZRANGEBYLEX', CATALOG, '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])) do
  found[#found + 1] = name
  found[#found + 1] = stored(name)
end
return found`,
);

/** Arguments: repository, position. Reply: 1 if some of what it is linked to is stored; the next position, if there may be more. */
export const hasStored = reading(
  'stored',
  `${page}
local id = call('HGET', REPOSITORIES, 'r' .. ARGV[2])
if not id then return {'ok', 0, ''} end
local held = page(HELD, id, ARGV[3], ${pageSize})
for _, member in ipairs(held) do
  if call('HEXISTS', CONTENT, string.sub(member, #id + 2)) == 1 then return {'ok', 1, ''} end
end
return {'ok', 0, #held == ${pageSize} and held[#held] or ''}`,
);

/** Arguments: repository, tag. Reply: 1 if the tag is needed. */
export const isTagNeeded = reading(
  'tag-needed',
  `local id = call('HGET', REPOSITORIES, 'r' .. ARGV[2])
local key = id and id .. ARGV[3] .. '\\0'
local row = key and first(TAGS, key)
if not row then return {'ok', 0} end
local digest = string.sub(row, #key + 1, -4)
local same = '[' .. digest .. id
local isNeeded = read(digest) and first(LINKS, digest .. 'm' .. id)
  and call('ZLEXCOUNT', TAGGED, same, '(' .. digest .. id .. '\\255') <= ${maxTagsOfOne}
return {'ok', isNeeded and 1 or 0}`,
);

/** Arguments: repository, digest. Reply: 1 if the digest is stored, and linked to the repository. */
export const isLinkedToStored = reading(
  'linked',
  `local id = call('HGET', REPOSITORIES, 'r' .. ARGV[2])
local isLinked = id and (first(LINKS, ARGV[3] .. 'm' .. id) or first(LINKS, ARGV[3] .. 'b' .. id))
return {'ok', isLinked and read(ARGV[3]) and 1 or 0}`,
);

/** Argument: how many come before it. Reply: the least recently used repository that is not kept, and its last use. */
export const stalestRepository = reading(
  'stalest',
  `local found = call('ZRANGEBYSCORE', STALEST, 0, '+inf', 'WITHSCORES', 'LIMIT', ARGV[2], 1)
return {'ok', found[1] and call('HGET', REPOSITORIES, 'i' .. found[1]) or '', found[2] or '0'}`,
);

/** `isAtMost(one, other)`: compares texts as the server sorts them. */
export const isAtMostInLua = `local function isAtMost(one, other) -- by bytes: the operator of Lua follows the locale of the server
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a < b end
  end
  return #one <= #other
end`;

/**
 * Arguments: last use and digest of the position, limit. Reply: digest, last use, size and kind of each. The position may be that of content
 * that is gone: where it was is found by halving.
 */
export const evictableContent = reading(
  'evictable',
  `local digest = ARGV[3]
${isAtMostInLua}
local low = call('ZCOUNT', LRU, '-inf', '(' .. ARGV[2])
local high = low + call('ZCOUNT', LRU, ARGV[2], ARGV[2])
while low < high do
  local middle = math.floor((low + high) / 2)
  if isAtMost(call('ZRANGE', LRU, middle, middle)[1], digest) then low = middle + 1 else high = middle end
end
local found = {'ok'}
local rows = call('ZRANGE', LRU, low, low + ARGV[4] - 1, 'WITHSCORES')
for i = 1, #rows, 2 do
  local content = read(rows[i])
  if content then
    for _, value in ipairs({rows[i], rows[i + 1], content.size, content.manifest}) do found[#found + 1] = value end
  end
end
return found`,
);

/**
 * Argument: limit. Reply: what is evicted next, and what becomes evictable with it because nothing else names it; each as the
 * manifest that must go first or nothing, digest, last use, size and kind.
 */
export const evictedNext = reading(
  'evicted-next',
  `local found, left = {'ok'}, tonumber(ARGV[2])
local function add(digest, content, under)
  left = left - 1
  for _, value in ipairs({under, digest, content.used, content.size, content.manifest}) do found[#found + 1] = value end
  local children = content.manifest == 1 and call('HGET', NAMES, digest .. '\\0\\0')
  if not children or string.byte(children) == 0 then return end
  for child in digests(children) do
    local named = left > 0 and read(child)
    if named and not first(KEPT, child)
      and #call('ZRANGEBYLEX', PARENTS, '[' .. child, '(' .. child .. '\\255', 'LIMIT', 0, 2) == 1 then
      add(child, named, digest)
    end
  end
end
for _, digest in ipairs(call('ZRANGE', LRU, 1, left)) do
  local content = left > 0 and read(digest)
  if content then add(digest, content, '') end
end
return found`,
);

/** Argument: digest. Reply: some of the links and tags that refer to it, as kind, repository and tag. */
export const recordsOfDigest = reading(
  'records',
  `local found, digest = {'ok'}, ARGV[2]
local function add(kind, id, tag)
  for _, value in ipairs({kind, call('HGET', REPOSITORIES, 'i' .. id), tag}) do found[#found + 1] = value end
end
${page}
local from = #digest + 1
local links = page(LINKS, digest, '', ${pageSize})
for _, link in ipairs(links) do add(string.sub(link, from, from), string.sub(link, from + 1, from + 7), '') end
for _, tag in ipairs(page(TAGGED, digest, '', ${pageSize} - #links)) do
  add('t', string.sub(tag, from, from + 6), string.sub(tag, from + 7))
end
return found`,
);

/** Argument: repository. Reply: some of its links and tags, as kind, digest and tag. */
export const recordsOfRepository = reading(
  'repository',
  `local found, id = {'ok'}, call('HGET', REPOSITORIES, 'r' .. ARGV[2])
if not id then return found end
${page}
local held = page(HELD, id, '', ${pageSize})
for _, member in ipairs(held) do
  for _, value in ipairs({string.sub(member, 8, 8), string.sub(member, 9), ''}) do found[#found + 1] = value end
end
for _, tag in ipairs(page(TAGS, id, '', ${pageSize} - #held)) do
  local stop = string.find(tag, '\\0', 8, true)
  for _, value in ipairs({'t', string.sub(tag, stop + 1, -4), string.sub(tag, 8, stop - 1)}) do found[#found + 1] = value end
end
return found`,
);

const unseen = 'local REBUILD = tonumber(ARGV[2])';

/** Arguments: rebuild, position. Reply: the next position; links that the rebuild did not find, as kind, digest and repository. */
export const unseenLinks = reading(
  'unseen-links',
  `${unseen}
local rows = call('ZRANGEBYLEX', LINKS, '(' .. ARGV[3], '+', 'LIMIT', 0, ${pageSize})
local found = {'ok', #rows == ${pageSize} and rows[#rows] or ''}
for _, link in ipairs(rows) do
  local digest = digestAt(link, 1)
  if struct.unpack('>I3', link, #digest + 9) ~= REBUILD then
    local name = call('HGET', REPOSITORIES, 'i' .. string.sub(link, #digest + 2, #digest + 8))
    for _, value in ipairs({string.sub(link, #digest + 1, #digest + 1), digest, name}) do found[#found + 1] = value end
  end
end
return found`,
);

/** Arguments: rebuild, position. Reply: the next position; tags that the rebuild did not find, as repository and tag. */
export const unseenTags = reading(
  'unseen-tags',
  `${unseen}
local rows = call('ZRANGEBYLEX', TAGS, '(' .. ARGV[3], '+', 'LIMIT', 0, ${pageSize})
local found = {'ok', #rows == ${pageSize} and rows[#rows] or ''}
for _, row in ipairs(rows) do
  if struct.unpack('>I3', row, #row - 2) ~= REBUILD then
    found[#found + 1] = call('HGET', REPOSITORIES, 'i' .. string.sub(row, 1, 7))
    found[#found + 1] = string.sub(row, 8, string.find(row, '\\0', 8, true) - 1)
  end
end
return found`,
);

/** Arguments: rebuild, position. Reply: the next position, `0` at the end; content that the rebuild did not find. */
export const unseenContent = reading(
  'unseen-content',
  `${unseen}
local rows = call('HSCAN', CONTENT, ARGV[3], 'COUNT', ${pageSize})
local found = {'ok', rows[1]}
for i = 1, #rows[2], 2 do
  local digest, row = rows[2][i], rows[2][i + 1]
  if digest ~= '' and struct.unpack('>I3', row, 2) ~= REBUILD then found[#found + 1] = digest end
end
return found`,
);

/** Arguments: unused, position. Reply: the next position, `0` at the end; manifests that are gone and whose names are left. */
export const orphanedNames = reading(
  'orphaned-names',
  `local rows = call('HSCAN', NAMES, ARGV[3], 'COUNT', 50)
local found = {'ok', rows[1]}
for i = 1, #rows[2], 2 do
  if rows[2][i] ~= '' then
    local parent = string.sub(rows[2][i], 1, -3)
    if call('HEXISTS', CONTENT, parent) == 0 then found[#found + 1] = parent end
  end
end
return found`,
);
