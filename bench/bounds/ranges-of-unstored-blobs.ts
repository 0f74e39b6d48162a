import { digestOf } from '../../src/oci/digest.ts';
import { randomBlob } from '../../test/support/images.ts';
import type { Stage } from '../scenarios/stage.ts';
import type { Bound } from './bound.ts';
import { startPair } from './upstream.ts';

const mebibyte = 1024 ** 2;
const blobBytes = 64 * mebibyte;
const parts = 16;
const noRoom = { storage: { maxSize: '1MiB' } };

/** Requests sixteen ranges of 1 MiB, spread over a blob of 64 MiB that the store has no room for. */
export async function measureRangesOfUnstoredBlobs(stage: Stage): Promise<readonly Bound[]> {
  await using pair = await startPair(stage.site('ranges-no-room'), noRoom);
  const blob = randomBlob(blobBytes, 'ranges without room');
  pair.registry.content.addBlob('bench/ranges', blob);
  const url = `${pair.layerwell.url}/v2/bench/ranges/blobs/${blob.digest}`;
  let clientBytes = 0;
  for (let part = 0; part < parts; part += 1) {
    const start = (part * blobBytes) / parts;
    const range = { range: `bytes=${start}-${start + mebibyte - 1}` };
    const answer = await fetch(url, { headers: range, signal: stage.signal });
    const bytes = Buffer.from(await answer.arrayBuffer());
    const expected = blob.bytes.subarray(start, start + mebibyte);
    if (answer.status !== 206 || digestOf(bytes) !== digestOf(expected))
      throw new Error(`${url} answered part ${part} with ${answer.status} and ${bytes.length} bytes`);
    clientBytes += bytes.length;
  }
  const upstreamBytes = pair.registry.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  const what = `${parts} ranges without room to store: bytes from upstream ÷ bytes to client`;
  return [{ what, measured: upstreamBytes / clientBytes, limit: 1.1 }];
}
