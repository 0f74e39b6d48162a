import { isAtMostInLua, readingForOperators } from '../read-scripts.ts';
import { readImages } from './image-rows.ts';

/** Links that are looked at to find out whether something of a repository is stored: mostly the first is. If it has more, it counts as stored. */
const firstHeld = 4;
const mostHeld = 500;

/**
 * Arguments of each script: `name`, `lastPull` or `size`; 1 if descending; a position to begin after and one to end at, each as 1 or nothing,
 * value, digest, name and tag; items that are wanted; items that are looked at; registry, text, platform, last use from, until, least and most
 * bytes, each or nothing; the one repository whose tags are listed, or nothing.
 * Reply: 1 at the end of the list; the position of the last item that was looked at, as value, digest, name and tag; the items.
 */
const asked = `${readImages}
local by, isDown = ARGV[2], ARGV[3] == '1'
local function position(at)
  if ARGV[at] == '' then return nil end
  return {value = ARGV[at + 1], digest = ARGV[at + 2], name = ARGV[at + 3], tag = ARGV[at + 4]}
end
local from, to, wanted, most = position(4), position(9), tonumber(ARGV[14]), tonumber(ARGV[15])
local registry, text, platform = ARGV[16], ARGV[17], ARGV[18]
local since, before, least, greatest = tonumber(ARGV[19]), tonumber(ARGV[20]), tonumber(ARGV[21]), tonumber(ARGV[22])
local found, count, looked, isEnd = {}, 0, 0, false
local last = {value = '0', digest = '', name = '', tag = ''}
local function add(...)
  for _, value in ipairs({...}) do found[#found + 1] = value end
  count = count + 1
end
local function replied()
  return {'ok', isEnd and 1 or 0, last.value, last.digest, last.name, last.tag, unpack(found)}
end
local function isIn(used, bytes)
  if since and used < since then return false end
  if before and used >= before then return false end
  if least and bytes < least then return false end
  return not (greatest and bytes > greatest)
end
local function isNamed(name)
  return text == '' or string.find(string.lower(name), text, 1, true) ~= nil
end
local function isInRegistry(name)
  if ARGV[23] ~= '' and name ~= ARGV[23] then return false end
  return registry == '' or string.sub(name, 1, #registry) == registry
end
local function isFor(platforms)
  return string.find(platforms, ',' .. platform .. ',', 1, true) or string.find(platforms, ',' .. platform .. '/', 1, true)
end
${isAtMostInLua}
local function below(key, value, member, isIncluded) -- how many members come before this one
  local low = call('ZCOUNT', key, '-inf', '(' .. value)
  local high = low + call('ZCOUNT', key, value, value)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local other = call('ZRANGE', key, middle, middle)[1]
    if isAtMost(other, member) and (isIncluded or other ~= member) then low = middle + 1 else high = middle end
  end
  return low
end
local function byValue(key, member, isWhole) -- some members and their values, in order
  if not isDown then
    local start = from and below(key, from.value, member, isWhole) or 1
    return call('ZRANGE', key, start, start + most - 1, 'WITHSCORES')
  end
  local stop = from and below(key, from.value, member, not isWhole) or call('ZCARD', key)
  local start = math.max(stop - most, 1) -- the first is the empty one
  if stop <= start then return {} end
  local rows, turned = call('ZRANGE', key, start, stop - 1, 'WITHSCORES'), {}
  for i = #rows - 1, 1, -2 do
    turned[#turned + 1] = rows[i]
    turned[#turned + 1] = rows[i + 1]
  end
  return turned
end
local function isBeyond(value)
  if not to then return false end
  if isDown then return tonumber(value) < tonumber(to.value) end
  return tonumber(value) > tonumber(to.value)
end
local function names(mark, limit) -- names of repositories, in order
  local low, high = from and mark .. from.name or '(', to and '[' .. to.name or '+'
  if not isDown then return call('ZRANGEBYLEX', CATALOG, low, high, 'LIMIT', 0, limit) end
  low, high = to and '[' .. to.name or '(', from and mark .. from.name or '+'
  return call('ZREVRANGEBYLEX', CATALOG, high, low, 'LIMIT', 0, limit)
end
`;

/** Items: name, number of tags, bytes, last use. */
export const listRepositories = readingForOperators(
  'list-repositories',
  `${asked}
local function hasOne(beginning, isWanted) -- whether one of the links is wanted
  local from, limit, seen = '[' .. beginning, ${firstHeld}, 0
  while true do
    local held = call('ZRANGEBYLEX', HELD, from, '(' .. beginning .. '\\255', 'LIMIT', 0, limit)
    for _, member in ipairs(held) do
      if isWanted(string.sub(member, 9)) then return true end
    end
    seen = seen + #held
    if #held < limit then return false end
    if seen >= ${mostHeld} then return true end
    from, limit = '(' .. held[#held], ${mostHeld}
  end
end
local function isStored(id)
  return hasOne(id, function(digest) return call('HEXISTS', CONTENT, digest) == 1 end)
end
local function hasPlatform(name, id)
  if not call('ZSCORE', PLATFORMS, name .. '\\0' .. platform) and not first(PLATFORMS, name .. '\\0' .. platform .. '/') then return false end
  return hasOne(id .. 'm', function(digest)
    local known = image(digest)
    return known and isFor(known.platforms)
  end)
end
local function look(name)
  if not isInRegistry(name) or not isNamed(name) then return end
  local used, bytes = tonumber(call('ZSCORE', USES, name) or 0), tonumber(call('ZSCORE', SIZES, name) or 0)
  if not isIn(used, bytes) then return end
  local id = call('HGET', REPOSITORIES, 'r' .. name)
  if not id or (platform ~= '' and not hasPlatform(name, id)) or not isStored(id) then return end
  add(name, call('ZLEXCOUNT', TAGS, '[' .. id, '(' .. id .. '\\255'), string.format('%.0f', bytes), string.format('%.0f', used))
end
local step, rows = 2, nil
if by == 'name' then
  step, rows = 1, names('(', most)
else
  rows = byValue(by == 'size' and SIZES or USES, from and from.name, true)
end
for i = 1, #rows, step do
  if step == 2 and isBeyond(rows[i + 1]) then
    isEnd = true
    break
  end
  last = {value = step == 2 and rows[i + 1] or '0', digest = '', name = rows[i], tag = ''}
  look(rows[i])
  if count == wanted then break end
end
isEnd = isEnd or (count < wanted and #rows < most * step)
return replied()`,
);

/** Argument: repository. Reply: how many tags it has. */
export const countTags = readingForOperators(
  'count-tags',
  `local id = call('HGET', REPOSITORIES, 'r' .. ARGV[2])
return {'ok', id and call('ZLEXCOUNT', TAGS, '[' .. id, '(' .. id .. '\\255') or 0}`,
);

/** Repositories whose tags one script looks at. */
const repositoriesPerScript = 200;

/** Items: name, tag, digest, 1 if it is stored, media type, platforms, bytes, first and last use. */
const tagItems = `
local function addTag(name, tag, digest, known, used)
  local bytes, since = known and known.bytes or 0, known and known.since or 0
  add(name, tag, digest, known and 1 or 0, known and known.media or '', known and known.platforms or '', string.format('%.0f', bytes),
    string.format('%.0f', since), string.format('%.0f', used))
end
local function imageIn(digest) -- what is known of it, and its last use, if it may be in the list
  local known = image(digest)
  local content = known and read(digest)
  local used, bytes = content and content.used or 0, known and known.bytes or 0
  if not isIn(used, bytes) or (platform ~= '' and not (known and isFor(known.platforms))) then return false end
  return true, known, used
end
`;

export const listTagsByName = readingForOperators(
  'list-tags',
  `${asked}${tagItems}
local isOfTag = not string.find(text, ':', 1, true)
local function tagIn(member) return string.sub(member, 8, string.find(member, '\\0', 8, true) - 1) end
local function look(name, member, isNameIn)
  looked = looked + 1
  if not isNameIn and isOfTag and not string.find(string.lower(member), text, 8, true) then return end -- most are no further looked at
  local tag = tagIn(member)
  local digest = string.sub(member, #tag + 9, -4)
  if not isNameIn and not isNamed(name .. ':' .. tag) then return end
  local isListed, known, used = imageIn(digest)
  if isListed then addTag(name, tag, digest, known, used) end
end
local function tagsOf(name, id)
  local low, high, limit = '[' .. id, '(' .. id .. '\\255', most - looked
  local isBegun = from and from.name == name
  if isDown then
    if isBegun then high = '(' .. id .. from.tag end
    return call('ZREVRANGEBYLEX', TAGS, high, low, 'LIMIT', 0, limit), limit
  end
  if isBegun and from.tag ~= '' then low = '(' .. id .. from.tag .. '\\1' end
  return call('ZRANGEBYLEX', TAGS, low, high, 'LIMIT', 0, limit), limit
end
local all = names('[', ${repositoriesPerScript})
local isCut = false
for _, name in ipairs(all) do
  local id = isInRegistry(name) and call('HGET', REPOSITORIES, 'r' .. name)
  if id then
    local isNameIn = isNamed(name)
    local rows, limit = tagsOf(name, id)
    local lastMember
    for _, member in ipairs(rows) do
      lastMember = member
      look(name, member, isNameIn)
      isCut = count == wanted
      if isCut then break end
    end
    isCut = isCut or #rows == limit
    if isCut then last = {value = '0', digest = '', name = name, tag = lastMember and tagIn(lastMember) or from and from.tag or ''} end
  end
  if isCut then break end
  last = {value = '0', digest = '', name = name, tag = isDown and '' or '~'}
end
isEnd = not isCut and #all < ${repositoriesPerScript}
return replied()`,
);

export const listTagsByValue = readingForOperators(
  'list-tags-by-value',
  `${asked}${tagItems}
local isAboutNames = platform == '' and not (since or before or least or greatest)
local function look(value, digest, isBegun)
  local isListed, known, used = isAboutNames, nil, 0
  if not isAboutNames then isListed, known, used = imageIn(digest) end
  looked = looked + 1
  if not isListed then return true end
  local place = isBegun and call('HGET', REPOSITORIES, 'r' .. from.name)
  while true do
    local tags
    if isDown then
      tags = call('ZREVRANGEBYLEX', TAGGED, place and '(' .. digest .. place .. from.tag or '(' .. digest .. '\\255', '[' .. digest, 'LIMIT', 0, 100)
    else
      tags = call('ZRANGEBYLEX', TAGGED, place and '(' .. digest .. place .. from.tag or '[' .. digest, '(' .. digest .. '\\255', 'LIMIT', 0, 100)
    end
    for _, member in ipairs(tags) do
      local id, tag = string.sub(member, #digest + 1, #digest + 7), string.sub(member, #digest + 8)
      local name = call('HGET', REPOSITORIES, 'i' .. id)
      looked = looked + 1
      if name then
        local _
        last = {value = value, digest = digest, name = name, tag = tag}
        if isInRegistry(name) and isNamed(name .. ':' .. tag) then
          if isAboutNames then _, known, used = imageIn(digest) end
          addTag(name, tag, digest, known, used)
        end
        if count == wanted or looked >= 2 * most then return false end
      end
    end
    if #tags < 100 then return true end
    place, from = string.sub(tags[#tags], #digest + 1, #digest + 7), {name = last.name, tag = string.sub(tags[#tags], #digest + 8), value = '', digest = ''}
  end
end
local isWhole = from and from.name == (isDown and '' or '~')
local rows = byValue(by == 'size' and IMAGESIZES or IMAGEUSES, from and from.digest, isWhole)
local isCut = false
local begun = from and not isWhole and from.digest
for i = 1, #rows, 2 do
  local digest, value = rows[i], rows[i + 1]
  if isBeyond(value) then
    isEnd = true
    break
  end
  isCut = not look(value, digest, digest == begun)
  if isCut then break end
  last = {value = value, digest = digest, name = isDown and '' or '~', tag = isDown and '' or '~'}
  if looked >= 2 * most then
    isCut = true
    break
  end
end
isEnd = isEnd or (not isCut and #rows < 2 * most)
return replied()`,
);
