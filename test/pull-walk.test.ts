import { expect, test } from 'vitest';
import { recordPullWalks, type Walk } from '../scripts/walk/pull-walk.ts';
import { temporaryDirectory } from './support/temp-directory.ts';

/** Files of src/ that may run for a pull. Only ever lowered: the aim is 65 and 28. */
const most = { coldBlob: 122, freshTag: 49 };

test('a pull runs through no more files than before: see them with `npm run walk`', async () => {
  const { coldBlob, freshTag } = await recordPullWalks(await temporaryDirectory());

  expect(filesOf(coldBlob)).toContain('upstream/api/blobs.ts');
  expect(filesOf(freshTag)).toContain('mirror/tags/tags.ts');
  expect(filesOf(freshTag).filter((file) => /^(storage|upstream\/transport)\//.test(file))).toEqual([]);
  expect(coldBlob.files.length).toBeLessThanOrEqual(most.coldBlob);
  expect(freshTag.files.length).toBeLessThanOrEqual(most.freshTag);
});

function filesOf({ files }: Walk): readonly string[] {
  return files.map(({ file }) => file);
}
