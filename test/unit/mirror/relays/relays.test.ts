import { expect, test } from 'vitest';
import { SourcedBlob } from '../../../../src/mirror/blobs/upstream-blobs.ts';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import type { BlobSource } from '../../../../src/mirror/ports/shared-work.ts';
import type { OpenedBlob } from '../../../../src/mirror/ports/upstream.ts';
import { Relays } from '../../../../src/mirror/relays/relays.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { body } from '../../../support/start-download.ts';

const bytes = Buffer.from('0123456789');
const digest = digestOf(bytes);
const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/app') };
const part = { start: 4, end: 6 };

/** A part of the blob, relayed from sources that answer what the test says. */
async function relayed(...answers: readonly (() => OpenedBlob)[]) {
  const asked = answers.map(() => 0);
  const sources = answers.map(
    (answer, at): BlobSource => ({
      open: async () => {
        asked[at] = (asked[at] ?? 0) + 1;
        return answer();
      },
      failedVerification: () => {},
    }),
  );
  const memory = new MemoryBudget({ maxBytes: 64 * 1024 * 1024 });
  const relays = new Relays({ memory, attemptsWithoutProgress: 0, wait: async () => {}, closeAfterMs: 60_000 });
  const blob = new SourcedBlob({ repositoryId, digest, sources });
  const request = { repositoryId, digest, isLinked: false, part, size: bytes.length, blob, needsRanges: true };
  const joined = await relays.join(request, { signal: new AbortController().signal });
  const into = Buffer.alloc(10);
  const read = await joined.source.read(into, part.start);
  await joined.source[Symbol.asyncDispose]();
  return { read: into.subarray(0, read).toString(), asked };
}

const right = (): OpenedBlob => ({ body: body(bytes.subarray(4, 7)), offset: 4, size: 10 });

test.each([
  { what: 'ignores ranges', answer: (): OpenedBlob => ({ body: body(bytes), offset: 0, size: 10 }), problem: 'ranges' },
  {
    what: 'has a blob of another size',
    answer: (): OpenedBlob => ({ body: body(bytes.subarray(4, 7)), offset: 4, size: 11 }),
    problem: 'as one of 11 bytes',
  },
])('when a source $what, a part comes from the next source; without one it fails', async ({ answer, problem }) => {
  expect(await relayed(answer, right)).toEqual({ read: '456', asked: [1, 1] });
  await expect(relayed(answer)).rejects.toThrow(problem);
});
