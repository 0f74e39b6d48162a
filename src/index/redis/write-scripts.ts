import { writeImages } from './catalogue/image-rows.ts';
import { binaryScript, header } from './view-layout.ts';

/** How many digests that a manifest names are in one field of `names`. */
export const namesPerChunk = 64;
/** Chunks of names that one row removes. */
const chunksPerStep = 2;
/** Uses may be written out of order by seconds. A use that is a day ahead came from a wrong wall clock. */
const maxClockErrorMs = 24 * 3_600_000;

/** Totals are kept beside the rows, and change in the same script. */
const totals = `
local delta = {bytes = 0, disk = 0, kept = 0, manifests = 0, blobs = 0, records = 0, manifestbytes = 0}
local function onDisk(size) return math.ceil(size / 4096) * 4096 end
local function count(content, sign, kept)
  delta.bytes = delta.bytes + sign * content.size
  delta.disk = delta.disk + sign * onDisk(content.size)
  if kept then delta.kept = delta.kept + sign * onDisk(content.size) end
  local kind = content.manifest == 1 and 'manifests' or 'blobs'
  delta[kind] = delta[kind] + sign
  delta.manifestbytes = delta.manifestbytes + sign * content.manifest * content.size
end
`;

/** Content, and the order in which it is evicted: only what no manifest names and no kept repository is linked to has a place there. */
const contents = `
local function write(digest, content)
  call('HSET', CONTENT, digest, struct.pack('>BI3I6I6', content.manifest, content.seen, content.size, content.used))
end
local function isKept(digest) return first(KEPT, digest) ~= nil end
local function place(digest, content)
  if first(PARENTS, digest) or isKept(digest) then call('ZREM', LRU, digest)
  else call('ZADD', LRU, math.min(content.used, NOW + ${maxClockErrorMs}), digest) end
end
local function laterUse(before, at)
  if before > at + ${maxClockErrorMs} then return at end
  return math.max(before, at)
end
local function addContent(manifest, size, used, digest)
  local old, kept = read(digest), isKept(digest)
  if old then
    count(old, -1, kept)
    used = math.max(used, old.used)
    manifest = math.max(manifest, old.manifest)
  end
  local content = {manifest = manifest, seen = REBUILD, size = size, used = used}
  write(digest, content)
  count(content, 1, kept)
  place(digest, content)
  if manifest == 1 then keepImage(digest, content) end
end
local function dropContent(onlyUnseen, digest)
  local old = read(digest)
  if not old or (onlyUnseen and old.seen == REBUILD) then return end
  count(old, -1, isKept(digest))
  call('HDEL', CONTENT, digest)
  call('ZREM', LRU, digest)
  dropImage(digest)
end
local function use(at, digest)
  local content = read(digest)
  if not content then return false end
  content.used = laterUse(content.used, at)
  write(digest, content)
  if call('ZSCORE', LRU, digest) then call('ZADD', LRU, content.used, digest) end
  if call('ZSCORE', IMAGEUSES, digest) then call('ZADD', IMAGEUSES, content.used, digest) end
  return true
end
`;

/** Repositories have small numbers: that of their upstream, and their own. */
const repositories = `
local function repository(name)
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  if id then return id end
  local host = string.match(name, '^[^/]*')
  local upstream = call('HGET', REPOSITORIES, 'u' .. host)
  if not upstream then
    upstream = struct.pack('>I3', call('HINCRBY', REPOSITORIES, '#upstreams', 1))
    call('HSET', REPOSITORIES, 'u' .. host, upstream)
  end
  id = upstream .. struct.pack('>I4', call('HINCRBY', REPOSITORIES, '#repositories', 1))
  call('HSET', REPOSITORIES, 'r' .. name, id, 'i' .. id, name)
  return id
end
local function dropUnused(id, name)
  if first(HELD, id) then return end
  call('ZREM', STALEST, id)
  for _, key in ipairs({USES, SIZES}) do call('ZREM', key, name) end
  call('ZREMRANGEBYLEX', PLATFORMS, '[' .. name .. '\\0', '(' .. name .. '\\1')
  if first(TAGS, id) then return end
  call('ZREM', CATALOG, name)
  call('HDEL', REPOSITORIES, 'r' .. name, 'i' .. id)
end
local function useRepository(at, name)
  local usedBefore = call('ZSCORE', USES, name)
  if usedBefore then call('ZADD', USES, laterUse(tonumber(usedBefore), at), name) end
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  local before = id and call('ZSCORE', STALEST, id)
  if before then call('ZADD', STALEST, laterUse(tonumber(before), at), id) end
end
`;

const links = `
local function keep(digest, mark, isWanted)
  local before = isKept(digest)
  if isWanted then call('ZADD', KEPT, 0, mark) else call('ZREM', KEPT, mark) end
  local after = isKept(digest)
  if before == after then return end
  local content = read(digest)
  if not content then return end
  delta.kept = delta.kept + (after and 1 or -1) * onDisk(content.size)
  place(digest, content)
end
local function addLink(kind, isWanted, size, used, digest, name, mediaType)
  local id = repository(name)
  local key = digest .. kind .. id
  local old, content, sizeBefore = first(LINKS, key), read(digest), 0
  local since = used > 0 and used or content and content.used or 0
  if old then
    local _, oldSize, from = struct.unpack('>I3I6', old, #key + 1)
    sizeBefore = oldSize
    if size == 0 then size = sizeBefore end
    if mediaType == '' then mediaType = string.sub(old, from) end
  else
    if size == 0 and content then size = content.size + 1 end
    call('ZADD', HELD, 0, id .. kind .. digest)
    call('ZADD', CATALOG, 0, name)
    call('ZADD', USES, math.max(tonumber(call('ZSCORE', USES, name) or 0), since), name)
    local known = kind == 'm' and image(digest)
    if known then addPlatforms(known.platforms, name) end
    delta.records = delta.records + 1
  end
  call('ZINCRBY', SIZES, math.max(size - 1, 0) - math.max(sizeBefore - 1, 0), name)
  local new = key .. struct.pack('>I3I6', REBUILD, size) .. mediaType
  if old and old ~= new then call('ZREM', LINKS, old) end
  if old ~= new then call('ZADD', LINKS, 0, new) end
  keep(digest, key, isWanted)
  local usedBefore = call('ZSCORE', STALEST, id)
  if isWanted then call('ZREM', STALEST, id)
  elseif not old or not usedBefore then
    call('ZADD', STALEST, math.max(tonumber(usedBefore or 0), since), id)
  end
  if used > 0 then useRepository(used, name) end
end
local function dropLink(kind, onlyUnseen, digest, name)
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  if not id then return end
  local key = digest .. kind .. id
  local old = first(LINKS, key)
  if not old or (onlyUnseen and struct.unpack('>I3', old, #key + 1) == REBUILD) then return end
  local _, size = struct.unpack('>I3I6', old, #key + 1)
  call('ZINCRBY', SIZES, -math.max(size - 1, 0), name)
  call('ZREM', LINKS, old)
  call('ZREM', HELD, id .. kind .. digest)
  delta.records = delta.records - 1
  keep(digest, key, false)
  dropUnused(id, name)
end
`;

const tags = `
local function removeTag(id, tag, key, old)
  local digest = string.sub(old, #key + 1, -4)
  call('ZREM', TAGS, old)
  call('ZREM', TAGGED, digest .. id .. tag)
  placeImage(digest)
  delta.records = delta.records - 1
end
local function addTag(isOfStore, name, tag, digest)
  local id = repository(name)
  local key = id .. tag .. '\\0'
  local old = first(TAGS, key)
  if old and isOfStore and struct.unpack('>I3', old, #old - 2) == REBUILD then return end
  if old then removeTag(id, tag, key, old) end
  call('ZADD', TAGS, 0, key .. digest .. struct.pack('>I3', REBUILD))
  call('ZADD', TAGGED, 0, digest .. id .. tag)
  call('ZADD', CATALOG, 0, name)
  placeImage(digest)
  delta.records = delta.records + 1
end
local function dropTag(onlyUnseen, digest, name, tag)
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  if not id then return end
  local key = id .. tag .. '\\0'
  local old = first(TAGS, key)
  if not old or (digest ~= '' and string.sub(old, #key + 1, -4) ~= digest) then return end
  if onlyUnseen and struct.unpack('>I3', old, #old - 2) == REBUILD then return end
  removeTag(id, tag, key, old)
  dropUnused(id, name)
end
`;

/** While the names of a manifest are being removed, its first field says which of its fields is next. */
const names = `
local function addNames(chunk, parent, children)
  call('HSET', NAMES, parent .. struct.pack('>I2', chunk), children)
  for child in digests(children) do
    call('ZADD', PARENTS, 0, child .. parent)
    call('ZREM', LRU, child)
  end
  imagesNamed(parent, children)
end
local function dropNames(parent)
  local head = parent .. '\\0\\0'
  local children = call('HGET', NAMES, head)
  if not children then return true end
  local from = 0
  if string.byte(children) == 0 then from = struct.unpack('>I2', children, 2) end
  for chunk = from, from + ${chunksPerStep - 1} do
    local field = parent .. struct.pack('>I2', chunk)
    if chunk > 0 then children = call('HGET', NAMES, field) end
    if not children then
      call('HDEL', NAMES, head)
      return true
    end
    for child in digests(children) do
      call('ZREM', PARENTS, child .. parent)
      local content = read(child)
      if content then place(child, content) end
    end
    if chunk > 0 then call('HDEL', NAMES, field) end
  end
  call('HSET', NAMES, head, '\\0' .. struct.pack('>I2', from + ${chunksPerStep}))
  return false
end
`;

/**
 * Applies rows, each an argument made by RowBatch. Applying one twice changes nothing.
 * Arguments: the states the view may be in, its next state, the number of the rebuild, the time, the rows.
 * Reply: digests that were used and are not known; manifests of which names are left; the totals.
 */
export const applyRows = binaryScript(
  'index-apply',
  `${header}
local NEXT, REBUILD, NOW = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
${totals}${writeImages}${contents}${repositories}${links}${tags}${names}
local function texts(row, from)
  local second = string.find(row, '\\0', from, true)
  return string.sub(row, from, second - 1), string.sub(row, second + 1)
end
local unknown, unfinished = {}, {}
local apply = {
  C = function(row)
    local manifest, size, used, from = struct.unpack('>BI6I6', row, 2)
    addContent(manifest, size, used, string.sub(row, from))
  end,
  I = function(row)
    local since, own, from = struct.unpack('>I6I6', row, 2)
    local digest = digestAt(row, from)
    addImage(since, own, digest, texts(row, from + #digest))
  end,
  D = function(row) dropContent(string.byte(row, 2) == 1, string.sub(row, 3)) end,
  U = function(row)
    local at, from = struct.unpack('>I6', row, 2)
    local digest = string.sub(row, from)
    if not use(at, digest) then unknown[#unknown + 1] = digest end
  end,
  L = function(row)
    local isWanted, size, used, from = struct.unpack('>BI6I6', row, 3)
    local digest = digestAt(row, from)
    local name, mediaType = texts(row, from + #digest)
    addLink(string.sub(row, 2, 2), isWanted == 1, size, used, digest, name, mediaType)
  end,
  K = function(row)
    local digest = digestAt(row, 4)
    dropLink(string.sub(row, 2, 2), string.byte(row, 3) == 1, digest, string.sub(row, 4 + #digest))
  end,
  R = function(row)
    local at, from = struct.unpack('>I6', row, 2)
    useRepository(at, string.sub(row, from))
  end,
  T = function(row)
    local digest = digestAt(row, 3)
    local name, tag = texts(row, 3 + #digest)
    addTag(string.byte(row, 2) == 1, name, tag, digest)
  end,
  E = function(row)
    local name, rest = texts(row, 3)
    local tag, digest = texts(rest, 1)
    dropTag(string.byte(row, 2) == 1, digest, name, tag)
  end,
  N = function(row)
    local chunk, from = struct.unpack('>I2', row, 2)
    local parent = digestAt(row, from)
    addNames(chunk, parent, string.sub(row, from + #parent))
  end,
  X = function(row)
    local parent = string.sub(row, 2)
    if not dropNames(parent) then unfinished[#unfinished + 1] = parent end
  end,
}
for i = 5, #ARGV do apply[string.sub(ARGV[i], 1, 1)](ARGV[i]) end
for name, change in pairs(delta) do
  if change ~= 0 then call('HINCRBY', STATE, name, change) end
end
call('HSET', STATE, 'at', NEXT)
return {'ok', unknown, unfinished, counted()}`,
);
