import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { recordPullWalks, type Walk } from '../scripts/walk/pull-walk.ts';
import { temporaryDirectory } from './support/temp-directory.ts';

/** Files of src/ that may run for a pull. */
const most = { coldBlob: 67, freshTag: 28 };

test('a pull runs through no more files than before, in the order that ARCHITECTURE.md names: see them with `npm run walk`', async () => {
  const { coldBlob, freshTag } = await recordPullWalks(await temporaryDirectory());

  expect(filesOf(coldBlob)).toContain('upstream/api/blobs.ts');
  expect(filesOf(freshTag)).toContain('mirror/tags/tags.ts');
  expect(filesOf(freshTag).filter((file) => /^(storage|upstream\/transport)\//.test(file))).toEqual([]);
  expect(coldBlob.files.length).toBeLessThanOrEqual(most.coldBlob);
  expect(freshTag.files.length).toBeLessThanOrEqual(most.freshTag);

  const [every = [], tag = [], blob = []] = documentedWalks();
  expectInOrder(freshTag, [...every, ...tag]);
  expectInOrder(coldBlob, [...every, ...blob]);
});

function filesOf({ files }: Walk): readonly string[] {
  return files.map(({ file }) => file);
}

/** The files of every request, of a fresh tag and of a cold blob: each in a block of its own. */
function documentedWalks(): readonly (readonly string[])[] {
  const [, section = ''] = /^## A pull\n([^]*?)^## /m.exec(readFileSync('ARCHITECTURE.md', 'utf8')) ?? [];
  const blocks = [...section.matchAll(/^```\n([^]*?)^```$/gm)];
  return blocks.map(([, text = '']) => [...text.matchAll(/^\S+\.ts/gm)].map(([file]) => file));
}

function expectInOrder(walk: Walk, documented: readonly string[]): void {
  expect(documented.length).toBeGreaterThan(10);
  expect(filesOf(walk).filter((file) => documented.includes(file))).toEqual(documented);
}
