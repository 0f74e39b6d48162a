import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, randomBlob } from '../support/images.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';

test('a client that pulls a blob twice in a row gets it whole both times, from one upstream request', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  // Many at the same time, so that some of the second requests meet a download that is just ending.
  const blobs = Array.from({ length: 400 }, (_, index) => randomBlob(4_000, `blob ${index}`));
  for (const blob of blobs) upstream.content.addBlob('library/app', blob);
  const pull = async (blob: Content) => {
    const answer = await fetch(`${mirror.url}/v2/library/app/blobs/${blob.digest}`);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(blob.bytes);
  };
  await Promise.all(
    blobs.map(async (blob) => {
      for (let round = 0; round < 4; round += 1) await pull(blob);
    }),
  );
  expect(upstream.count('GET', /\/blobs\//)).toBe(blobs.length);
});
