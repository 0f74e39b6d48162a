import { expect, test } from 'vitest';
import { parseRepository } from '../../../../src/oci/reference.ts';
import type { Fault } from '../../../support/fake-answer.ts';
import { startFakeRegistry } from '../../../support/fake-registry.ts';
import { content, randomBlob } from '../../../support/images.ts';
import { clientOf, unlimited } from '../start-client.ts';

const repository = parseRepository('team/app');
const blobs = /\/blobs\//;

async function startWithBlob({ size = 1000, fault = {} }: { size?: number; fault?: Fault } = {}) {
  const registry = await startFakeRegistry();
  const blob = randomBlob(size);
  registry.content.addBlob(repository, blob);
  registry.script({ path: blobs }, fault);
  return { registry, blob, ...clientOf(registry.url) };
}

test('a HEAD tells the size of a blob without fetching it', async () => {
  const { client, registry, blob } = await startWithBlob();

  expect(await client.headBlob(repository, blob.digest, unlimited)).toEqual({ size: 1000 });
  expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD']);
});

test.each([401, 403, 405])(
  'a registry that answers HEAD of a blob with %i is asked for its first byte',
  async (status) => {
    const { client, registry, blob } = await startWithBlob();
    registry.clearScripts();
    registry.script({ method: 'HEAD' }, { status });

    expect(await client.headBlob(repository, blob.digest, unlimited)).toEqual({ size: 1000 });
    expect(registry.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual(['bytes=0-0']);
  },
);

test('a length of 0 in the answer to a HEAD is not the size of a blob, unless the blob is empty', async () => {
  const { client, registry, blob } = await startWithBlob({ fault: { contentLength: 0 } });
  registry.clearScripts();
  registry.script({ method: 'HEAD' }, { contentLength: 0 });
  const nothing = content('application/octet-stream', Buffer.alloc(0));
  registry.content.addBlob(repository, nothing);

  expect(await client.headBlob(repository, blob.digest, unlimited)).toEqual({ size: 1000 });
  expect(await client.headBlob(repository, nothing.digest, unlimited)).toEqual({ size: 0 });
  expect(registry.seen('GET', blobs).map(({ headers }) => headers.range)).toEqual(['bytes=0-0']);
});

test('an empty blob has a size too when HEAD is rejected', async () => {
  const registry = await startFakeRegistry();
  const nothing = content('application/octet-stream', Buffer.alloc(0));
  registry.content.addBlob(repository, nothing);
  registry.script({ method: 'HEAD' }, { status: 405 });
  const { client } = clientOf(registry.url);

  expect(await client.headBlob(repository, nothing.digest, unlimited)).toEqual({ size: 0 });
});

test('a missing blob is unknown, also when HEAD is rejected', async () => {
  const { client, registry } = await startWithBlob();
  registry.script({ method: 'HEAD' }, { status: 405 });

  const looked = client.headBlob(repository, randomBlob(10, 'another').digest, unlimited);

  await expect(looked).rejects.toMatchObject({ code: 'BLOB_UNKNOWN' });
});

test('a registry that denies a blob to HEAD and has it for GET (Harbor) is asked by GET alone for a while', async () => {
  const { client, registry, blob } = await startWithBlob();
  registry.clearScripts();
  registry.script({ method: 'HEAD' }, { status: 404 });

  for (const _ of ['denied', 'denied again', 'known'])
    expect(await client.headBlob(repository, blob.digest, unlimited)).toEqual({ size: blob.bytes.length });

  expect(registry.requests.map(({ method, headers }) => `${method} ${headers.range ?? ''}`)).toEqual([
    'HEAD ',
    'GET bytes=0-0',
    'HEAD ',
    'GET bytes=0-0',
    'GET bytes=0-0',
  ]);
});
