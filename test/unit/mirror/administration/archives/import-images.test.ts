import { expect, test } from 'vitest';
import {
  type ArchiveEntry,
  type ImportDeps,
  ImportImages,
} from '../../../../../src/mirror/administration/archives/import-images.ts';
import { layoutDocument, layoutIndexOf } from '../../../../../src/oci/image-layout.ts';
import { descriptorOf, image } from '../../../../support/images.ts';

const { signal } = new AbortController();
const order = { names: new Map(), isPublic: false };

/** Takes what has no contents. */
function withoutStore(): ImportImages {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- nothing of it is asked for
  return new ImportImages({} as ImportDeps);
}

function* folders(count: number): Generator<ArchiveEntry> {
  for (let at = 0; at < count; at += 1) yield { name: `blobs/`, type: 'directory', size: 0, body: noBytes() };
}

async function* noBytes(): AsyncGenerator<Uint8Array> {}

async function* entriesOf(...entries: readonly Iterable<ArchiveEntry>[]): AsyncGenerator<ArchiveEntry> {
  for (const some of entries) yield* some;
}

function document(name: string, text: string): ArchiveEntry {
  const bytes = Buffer.from(text);
  const body = async function* () {
    yield bytes;
  };
  return { name, type: 'file', size: bytes.byteLength, body: body() };
}

test('an archive of 200,000 files is taken, and one more is refused', async () => {
  const documents = [document('oci-layout', layoutDocument), document('index.json', layoutIndexOf([]))];
  const taken = await withoutStore().run(entriesOf(documents, folders(199_998)), order, { signal });
  expect(taken).toMatchObject({ images: [], written: 0 });
  const tooMany = withoutStore().run(entriesOf(folders(200_001)), order, { signal });
  await expect(tooMany).rejects.toThrow('the archive has more than 200000 files');
});

test('an archive of more than 1,000 manifests is refused', async () => {
  const { digest, size, mediaType } = descriptorOf(image().manifest);
  const manifests = Array.from({ length: 1_001 }, () => ({ digest, size, mediaType, name: 'docker.io/a/b:1' }));
  const documents = [document('oci-layout', layoutDocument), document('index.json', layoutIndexOf(manifests))];
  const run = withoutStore().run(entriesOf(documents), order, { signal });
  await expect(run).rejects.toThrow('index.json lists more than 1000 manifests');
});
