import { expect, test } from 'vitest';
import { OciError, UpstreamError } from '../../../src/oci/errors.ts';
import { parseRepository } from '../../../src/oci/reference.ts';
import { gate } from '../../support/gate.ts';
import { body } from '../../support/start-download.ts';
import {
  bytes,
  digest,
  failing,
  heldBy,
  question,
  scriptedCluster,
  storedAt,
  until,
  waiting,
  whole,
} from './scripted-cluster.ts';

const down = new UpstreamError('connect', 'refused');
const other = parseRepository('library/other');

test('a blob that another replica downloads is read there, and the upstream is not asked', async () => {
  const { download, asked, join } = scriptedCluster({ claim: () => heldBy('a'), at: { a: whole } });
  join('a');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['a 0']);
  expect(await download().blob.open(0, undefined, waiting)).toMatchObject({ origin: 'sibling', via: 'sibling' });
});

test('a blob that other replicas have is read from one of them', async () => {
  const { download, asked, join } = scriptedCluster({ claim: () => storedAt('a', 'b'), at: { a: whole, b: whole } });
  join('a', 'b');
  await download().read();
  expect(asked).toEqual(['a 0']);
});

test('when replicas break off one after the other, each next one continues at that byte, and the upstream in the end', async () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  const at = Object.fromEntries(ids.map((id, place) => [id, until(100 * (place + 1))]));
  const { download, asked, join } = scriptedCluster({
    claim: (failed) => ids.filter((id) => !failed.has(id)).map((id) => heldBy(id))[0] ?? 'mine',
    at,
  });
  join(...ids);
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['a 0', 'b 100', 'c 200', 'd 300', 'e 400', 'upstream 500']);
});

test.each([
  { what: 'does not have the blob', answer: () => undefined },
  { what: 'gives no answer', answer: failing(new UpstreamError('timeout', 'silent')) },
  { what: 'is over its limits', answer: failing(new UpstreamError('busy', 'too many')) },
  { what: 'claims a blob of another size', answer: () => ({ body: body(Buffer.alloc(9)), offset: 0, size: 9 }) },
])('a replica that $what is given up by this download, which takes over', async ({ answer }) => {
  const { download, asked, join } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? 'mine' : heldBy('a')),
    at: { a: answer, b: until(1) },
    upstream: whole,
  });
  join('a');
  await download()
    .read()
    .catch(() => {}); // A wrong size is a matter of the promised size.
  expect(asked.slice(0, 2)).toEqual(['a 0', 'upstream 0']);
});

test('a replica that refuses the secret keeps its lease: this one downloads by itself', async () => {
  const claims: unknown[] = [];
  const { download, asked, join, uses } = scriptedCluster({
    claim: (failed) => {
      claims.push([...failed]);
      return heldBy('a');
    },
    at: { a: failing(new UpstreamError('refused', 'another secret')) },
  });
  join('a');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['a 0', 'upstream 0']);
  expect(claims).toEqual([[]]);
  expect(uses.most).toBe(0);
});

test('a replica that joined a moment ago is asked after the members were read again; an unknown address is not asked', async () => {
  const joined = scriptedCluster({ claim: () => heldBy('a'), at: { a: whole } });
  await joined.download().read();
  expect(joined.asked).toEqual(['members', 'a 0']);
  const unknown = scriptedCluster({ claim: (failed) => (failed.has('z') ? 'mine' : heldBy('z')) });
  await unknown.download().read();
  expect(unknown.asked).toEqual(['members', 'upstream 0']);
});

test('what is downloaded for another repository is read once the upstream has confirmed it for this one', async () => {
  const confirming = gate();
  const { download, asked, join } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? heldBy('b', other) : heldBy('a', other)),
    at: { a: until(50), b: whole },
    confirm: () => confirming.opened,
  });
  join('a', 'b');
  const read = download().read();
  await Promise.resolve();
  expect(asked).not.toContain('a of library/other 0');
  confirming.open();
  expect((await read).equals(bytes)).toBe(true);
  expect(asked).toEqual(['confirm', 'a of library/other 0', 'b of library/other 50']);
  // Its client is not told: another repository has the blob.
  const { origin, via } = await download().blob.open(0, undefined, waiting);
  expect([origin, via]).toEqual(['sibling', undefined]);
});

test.each([new OciError('BLOB_UNKNOWN', 'no such blob'), down])(
  'if the upstream does not confirm it, nothing is read there, and its error is the client’s',
  async (cause) => {
    const { download, asked, join } = scriptedCluster({
      claim: () => heldBy('a', other),
      at: { a: whole },
      confirm: () => Promise.reject(cause),
      upstream: failing(cause),
    });
    join('a');
    await expect(download().read()).rejects.toBe(cause);
    expect(asked).toEqual(['confirm', 'upstream 0']);
  },
);

test('the bucket is asked before the upstream, and continues what a replica began', async () => {
  const { download, asked, join, uploaded, work } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? 'mine' : heldBy('a')),
    at: { a: until(70) },
    bucket: until(90),
  });
  join('a');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['a 0', 'bucket 70', 'upstream 90']);
  work.stored(question);
  expect(uploaded).toEqual([question]);
});

test('what came from a replica or the bucket alone is not uploaded again', async () => {
  const { download, uploaded, work } = scriptedCluster({ claim: () => 'mine', bucket: whole });
  await download().read();
  work.stored(question);
  expect(uploaded).toEqual([]);
});

test('the lease is in use while the upstream is asked and its body is read, and not after that', async () => {
  const answering = gate();
  const { download, uses } = scriptedCluster({
    claim: () => 'mine',
    upstream: async (start) => {
      await answering.opened;
      return whole(start);
    },
  });
  const opening = download().blob.open(0, undefined, waiting);
  await new Promise(setImmediate);
  expect(uses.open).toBe(1);
  answering.open();
  const { body: read } = await opening;
  expect(uses.open).toBe(1);
  const closed = new Promise((resolve) => read.once('close', resolve));
  read.destroy();
  await closed;
  expect(uses).toEqual({ open: 0, most: 1 });
});

test('the lease is not in use after the upstream has failed', async () => {
  const { download, uses } = scriptedCluster({ claim: () => 'mine', upstream: failing(down) });
  await expect(download().read()).rejects.toBe(down);
  expect(uses).toEqual({ open: 0, most: 1 });
});

test('when the upstream gives no answer, any replica that has the blob is asked, except those that were given up', async () => {
  const except: string[][] = [];
  const { download, asked, join } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? 'mine' : heldBy('a')),
    at: { a: until(10) },
    upstream: failing(down),
    anywhere: async (_, __, options) => {
      except.push([...options.except]);
      const start = options.range?.start ?? 0;
      const [id, answer] = except.length === 1 ? (['b', until(20)] as const) : (['c', whole] as const);
      const opened = await answer(start);
      return opened && { replicaId: id, opened };
    },
  });
  join('a');
  expect((await download().read()).equals(bytes)).toBe(true);
  expect(asked).toEqual(['a 0', 'upstream 10', 'upstream 20']);
  expect(except).toEqual([['a'], ['a', 'b']]);
});

test('what the upstream says it does not have is not looked for at other replicas', async () => {
  const gone = new OciError('BLOB_UNKNOWN', 'no such blob');
  const { download } = scriptedCluster({
    claim: () => 'mine',
    upstream: failing(gone),
    anywhere: () => Promise.reject(new Error('asked')),
  });
  await expect(download().read()).rejects.toBe(gone);
});

test('when no replica has it either, the client gets the error of the upstream', async () => {
  const anywhere = () => Promise.reject(new UpstreamError('timeout', 'silent'));
  const { download } = scriptedCluster({ claim: () => 'mine', upstream: failing(down), anywhere });
  await expect(download().read()).rejects.toBe(down);
});

test('a replica that sent wrong bytes, perhaps with others, is not asked for them again', async () => {
  const { download, asked, join, told } = scriptedCluster({
    claim: (failed) => (failed.has('a') ? 'mine' : storedAt('a')),
    at: { a: until(30) },
    bucket: until(60),
  });
  join('a');
  const first = download();
  await first.read();
  first.blob.failedVerification();
  expect(told).toEqual(['bucket', 'upstream']);
  asked.length = 0;
  await download().read();
  expect(asked).toEqual(['bucket 0', 'upstream 60']);
});

test('a part of a blob beside its download takes no lease', async () => {
  const { download, asked } = scriptedCluster({
    claim: () => {
      throw new Error('claimed');
    },
  });
  const { body: part } = await download().blob.open(5, 9, waiting);
  part.destroy();
  expect(asked).toEqual(['upstream 5']);
});

test('a download gives up a bounded number of replicas', async () => {
  let claims = 0;
  const { download, asked } = scriptedCluster({
    claim: () => {
      claims += 1;
      return heldBy(`r${claims}`);
    },
  });
  await download().read();
  expect(asked.at(-1)).toBe('upstream 0');
  expect(claims).toBe(17);
});

test('a download does not look for replicas for longer than its client can wait', async () => {
  const { download, clock, asked, join } = scriptedCluster({
    claim: (failed) => storedAt(`r${failed.size}`),
    at: Object.fromEntries(
      Array.from({ length: 9 }, (_, at) => [
        `r${at}`,
        () => {
          clock.advance(3_000);
          return undefined;
        },
      ]),
    ),
  });
  join('r0', 'r1', 'r2', 'r3');
  await download().read();
  expect(asked).toEqual(['r0 0', 'r1 0', 'r2 0', 'upstream 0']);
});

test('a download that is ended while replicas are looked for asks nobody else', async () => {
  const left = new AbortController();
  const { download, asked, join } = scriptedCluster({
    claim: () => heldBy('a'),
    at: {
      a: () => {
        left.abort(new UpstreamError('busy', 'left'));
        throw new UpstreamError('busy', 'left');
      },
    },
  });
  join('a');
  await expect(download().blob.open(0, undefined, left)).rejects.toThrow('left');
  expect(asked).toEqual(['a 0']);
});

test('content that is served is announced once in a while, at once after it was evicted, and when Redis may have forgotten it', () => {
  const { work, clock, asked } = scriptedCluster({ claim: () => 'mine' });
  for (let pull = 0; pull < 10; pull += 1) work.readable(question);
  expect(asked).toEqual(['stored true']);
  clock.advance(12 * 3_600_000);
  work.readable(question);
  work.removed(digest);
  work.readable(question);
  work.forgetNames();
  work.readable(question);
  expect(asked).toEqual(['stored true', 'stored true', 'removed', 'stored true', 'stored true']);
});

test('evicted content is announced no longer', () => {
  const { work, asked } = scriptedCluster({ claim: () => 'mine' });
  work.removed(digest);
  expect(asked).toEqual(['removed']);
});
