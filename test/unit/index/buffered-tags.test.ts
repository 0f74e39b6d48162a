import { expect, test } from 'vitest';
import { BufferedTags } from '../../../src/index/buffer-writer.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';

const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const digest = digestOf(Buffer.from('a'));
const rebuilding = { isRebuilding: true };

/** Tags that were forgotten during a rebuild, and written since. */
function forgotten({ count, most }: { readonly count: number; readonly most: number }) {
  const tags = new BufferedTags({ mostForgotten: most });
  const names = Array.from({ length: count }, (_, number) => parseTag(`v${number}`));
  for (const tag of names) tags.add({ repositoryId, tag, digest: undefined, source: 'mirror' }, rebuilding);
  tags.clear();
  const isAdded = (tag: (typeof names)[number]) => {
    tags.add({ repositoryId, tag, digest, source: 'store' }, rebuilding);
    return tags.hasTag({ repositoryId, tag });
  };
  return { tags, names, isAdded };
}

test('of the tags that are forgotten while a rebuild cannot end, the last ones are remembered', () => {
  const { names, isAdded } = forgotten({ count: 5, most: 3 });
  expect(names.map(isAdded)).toEqual([true, true, false, false, false]);
});

test('a forgotten tag that was pulled again, and those of a rebuild that has ended, are no longer remembered', () => {
  const { tags, names, isAdded } = forgotten({ count: 2, most: 2 });
  const [first, second] = names;
  if (!first || !second) throw new Error('there are two');
  tags.add({ repositoryId, tag: first, digest, source: 'mirror' }, rebuilding);
  tags.clear();
  expect([isAdded(first), isAdded(second)]).toEqual([true, false]);
  tags.endRebuild();
  expect(isAdded(second)).toBe(true);
});
