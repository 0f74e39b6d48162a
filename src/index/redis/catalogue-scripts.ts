import { mostDetails } from '../../mirror/ports/store-index.ts';
import { page, readingForOperators } from './read-scripts.ts';

/** Arguments: repository, tag, limit. Reply: the tags after this one, each with its digest, and 1 if that is stored. */
export const tagsAfter = readingForOperators(
  'tags',
  `local id, found = call('HGET', REPOSITORIES, 'r' .. ARGV[2]), {'ok'}
if not id then return found end
local from = ARGV[3] == '' and '[' .. id or '(' .. id .. ARGV[3] .. '\\1' -- a tag ends with a zero
for _, row in ipairs(call('ZRANGEBYLEX', TAGS, from, '(' .. id .. '\\255', 'LIMIT', 0, ARGV[4])) do
  local stop = string.find(row, '\\0', 8, true)
  local digest = string.sub(row, stop + 1, -4)
  for _, value in ipairs({string.sub(row, 8, stop - 1), digest, call('HEXISTS', CONTENT, digest)}) do found[#found + 1] = value end
end
return found`,
);

/**
 * Arguments: repository, kind of link, digest, limit. Reply: the digests that the repository is linked to by this kind, after this one.
 */
export const linksAfter = readingForOperators(
  'links',
  `${page}
local id, found = call('HGET', REPOSITORIES, 'r' .. ARGV[2]), {'ok'}
if not id then return found end
local beginning = id .. ARGV[3]
for _, member in ipairs(page(HELD, beginning, ARGV[4] == '' and '' or beginning .. ARGV[4], ARGV[5])) do
  found[#found + 1] = string.sub(member, #beginning + 1)
end
return found`,
);

/**
 * Argument: digest. Reply: its size, kind and last use, or nothing; the repositories that are linked to it; repository and tag of each tag
 * that points at it; the manifests that name it; what it names, some together.
 */
export const detailsOfDigest = readingForOperators(
  'details',
  `${page}
local digest, content = ARGV[2], read(ARGV[2])
local row, links, tags, parents, children = {}, {}, {}, {}, {}
if content then row = {content.size, content.manifest, content.used} end
local from = #digest + 1
for _, link in ipairs(page(LINKS, digest, '', ${mostDetails})) do
  links[#links + 1] = call('HGET', REPOSITORIES, 'i' .. string.sub(link, from + 1, from + 7))
end
for _, tag in ipairs(page(TAGGED, digest, '', ${mostDetails})) do
  tags[#tags + 1] = call('HGET', REPOSITORIES, 'i' .. string.sub(tag, from, from + 6))
  tags[#tags + 1] = string.sub(tag, from + 7)
end
for _, parent in ipairs(page(PARENTS, digest, '', ${mostDetails})) do parents[#parents + 1] = string.sub(parent, from) end
if content and content.manifest == 1 then
  for chunk = 0, 65535 do
    local some = call('HGET', NAMES, digest .. struct.pack('>I2', chunk))
    if not some or string.byte(some) == 0 then break end
    for child in digests(some) do children[#children + 1] = child end
  end
end
return {'ok', row, links, tags, parents, children}`,
);
