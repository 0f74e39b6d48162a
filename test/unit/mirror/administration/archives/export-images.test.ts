import { expect, test } from 'vitest';
import { MemoryBudget } from '../../../../../src/mirror/concurrency/memory-budget.ts';
import { ExportImages } from '../../../../../src/mirror/administration/archives/export-images.ts';
import { parseImageName } from '../../../../../src/oci/image-name.ts';
import { ociManifest } from '../../../../../src/oci/media-types.ts';
import { type Content, image } from '../../../../support/images.ts';

const { signal } = new AbortController();
const built = image({ layers: 2 });
const contents = new Map<string, Content>([built.manifest, ...built.blobs].map((one) => [one.digest, one]));

/** Exports of one image of four contents. */
function exportsOf(mostContents: number): ExportImages {
  return new ExportImages({
    mostContents,
    memory: new MemoryBudget({ maxBytes: 64 * 1024 * 1024 }),
    background: { settled: async () => {} },
    records: { read: async () => undefined },
    tagRecords: {
      get: async () => ({ digest: built.manifest.digest, mediaType: ociManifest, size: 0, confirmedAtMs: 0 }),
    },
    store: {
      readAll: async (digest) => contents.get(digest)?.bytes,
      open: async (digest) => {
        const size = contents.get(digest)?.bytes.byteLength;
        if (size === undefined) return undefined;
        return { size, read: async () => 0, [Symbol.asyncDispose]: async () => {} };
      },
      quarantine: async () => {},
    },
  });
}

test('an archive has at most so many contents, and one more is refused in words', async () => {
  const name = parseImageName('nginx:1');
  if (typeof name === 'string') throw new Error(name);
  const order = { images: [name], platforms: 'stored', referrers: false } as const;
  const { size } = contents;
  expect(await exportsOf(size).plan(order, { signal })).toMatchObject({ contents: expect.objectContaining({ size }) });
  const detail = `an archive has at most ${size - 1} contents`;
  expect(await exportsOf(size - 1).plan(order, { signal })).toMatchObject([{ detail }]);
});
