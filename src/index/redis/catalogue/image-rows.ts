/** A manifest of more image indexes than this changes what is told of so many; the same for repositories that are linked to it. */
const mostTogether = 32;

/** Lua: reads what is known of an image, while its manifest is stored. */
export const readImages = `
local function image(digest)
  local row = call('HGET', IMAGES, digest)
  if not row or row == '' then return nil end
  local since, own, bytes, from = struct.unpack('>I6I6I6', row)
  local media, platforms, offers = string.match(string.sub(row, from), '^([^\\1]*)\\1([^\\1]*)\\1(.*)$')
  return {since = since, own = own, bytes = bytes, media = media, platforms = platforms, offers = offers}
end
`;

/**
 * Lua: keeps what is known of images. `offers` is empty except of an image index: the platforms that it tells, by the first bytes of digests.
 * `bytes` and `platforms` of an image index are those of the images in it that are stored.
 */
export const writeImages = `${readImages}
local function some(key, beginning)
  return call('ZRANGEBYLEX', key, '[' .. beginning, '(' .. beginning .. '\\255', 'LIMIT', 0, ${mostTogether})
end
local function placeImage(digest)
  if not first(TAGGED, digest) then
    call('ZREM', IMAGEUSES, digest)
    call('ZREM', IMAGESIZES, digest)
    return
  end
  local known, content = image(digest), read(digest)
  call('ZADD', IMAGEUSES, known and content and content.used or 0, digest)
  call('ZADD', IMAGESIZES, known and known.bytes or 0, digest)
end
local function addPlatforms(platforms, name)
  for platform in string.gmatch(platforms, '[^,]+') do call('ZADD', PLATFORMS, 0, name .. '\\0' .. platform) end
end
local function writeImage(digest, known)
  call('HSET', IMAGES, digest, struct.pack('>I6I6I6', known.since, known.own, known.bytes)
    .. known.media .. '\\1' .. known.platforms .. '\\1' .. known.offers)
  placeImage(digest)
  if known.platforms == '' then return end
  for _, link in ipairs(some(LINKS, digest .. 'm')) do
    local name = call('HGET', REPOSITORIES, 'i' .. string.sub(link, #digest + 2, #digest + 8))
    if name then addPlatforms(known.platforms, name) end
  end
end
local function offered(offers, digest)
  local start = string.gsub(string.sub(digest, 2, 7), '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  local _, stop = string.find(offers, start .. '=', 1, true)
  return stop and string.match(offers, '^[^,]+', stop + 1)
end
local function gather(digest)
  local known = image(digest)
  if not known or known.offers == '' then return end
  local bytes, platforms = known.own, ','
  for chunk = 0, 65535 do
    local children = call('HGET', NAMES, digest .. struct.pack('>I2', chunk))
    if not children or string.byte(children) == 0 then break end
    for child in digests(children) do
      local stored = image(child)
      local platform = stored and offered(known.offers, child)
      if stored then bytes = bytes + stored.bytes end
      if platform and not string.find(platforms, ',' .. platform .. ',', 1, true) then platforms = platforms .. platform .. ',' end
    end
  end
  if platforms == ',' then platforms = '' end
  if bytes == known.bytes and platforms == known.platforms then return end
  known.bytes, known.platforms = bytes, platforms
  writeImage(digest, known)
end
local function parentsOf(digest)
  local parents = some(PARENTS, digest)
  for at, member in ipairs(parents) do parents[at] = string.sub(member, #digest + 1) end
  return parents
end
local function gatherParents(digest)
  for _, parent in ipairs(parentsOf(digest)) do gather(parent) end
end
local function learn(digest)
  local known = image(digest)
  if not known or known.offers ~= '' or known.platforms ~= '' then return end
  for _, parent in ipairs(parentsOf(digest)) do
    local index = image(parent)
    local platform = index and offered(index.offers, digest)
    if platform then
      known.platforms = ',' .. platform .. ','
      return writeImage(digest, known)
    end
  end
end
local function keepImage(digest, content)
  if image(digest) then return placeImage(digest) end
  writeImage(digest, {since = content.used, own = content.size, bytes = content.size, media = '', platforms = '', offers = ''})
  gatherParents(digest)
end
local function addImage(since, own, digest, media, offers)
  local known = image(digest)
  if not known then return end
  known.since, known.own, known.bytes, known.offers = math.min(known.since, since), own, own, offers
  if media ~= '' then known.media = media end
  writeImage(digest, known)
  gather(digest)
  gatherParents(digest)
  learn(digest)
end
local function dropImage(digest)
  if call('HDEL', IMAGES, digest) == 0 then return end
  placeImage(digest)
  gatherParents(digest)
end
local function imagesNamed(parent, children)
  local known = image(parent)
  if not known or known.offers == '' then return end
  gather(parent)
  for child in digests(children) do learn(child) end
end
`;
