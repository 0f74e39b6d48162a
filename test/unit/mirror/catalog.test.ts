import { expect, test } from 'vitest';
import { Mirror, type MirrorDeps } from '../../../src/mirror/mirror.ts';
import { ManualClock } from '../../support/manual-clock.ts';

/** Only what a catalog needs. */
function mirrorOver({
  pages,
  mayBeListed,
  isComplete = () => true,
  clock = new ManualClock(),
}: {
  pages: (last: string | undefined) => readonly string[] | undefined;
  mayBeListed: boolean | ((repository: string) => boolean);
  clock?: ManualClock;
  isComplete?: () => boolean;
}) {
  let looked = 0;
  const index = {
    repositories: async ({ last }: { last: string | undefined }) => {
      looked += 1;
      return pages(last);
    },
    isComplete: async () => isComplete(),
    whenComplete: async () => {},
  };
  const choice = { upstreams: { find: (name: string) => ({ name, label: name }) }, defaultUpstream: {} };
  const isListed = typeof mayBeListed === 'boolean' ? () => mayBeListed : mayBeListed;
  const access = { mayBeListed: async (id: { repository: string }) => isListed(id.repository) };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a catalog asks nothing else of a mirror.
  const mirror = new Mirror({ index, choice, access, clock } as unknown as MirrorDeps);
  return { mirror, looked: () => looked };
}

/** An index of names without end. */
function endless(last: string | undefined): readonly string[] {
  const first = last === undefined ? 0 : Number(last.slice('docker.io/library/n'.length)) + 1;
  return Array.from({ length: 200 }, (_, place) => `docker.io/library/n${first + place}`);
}

test('a catalog with n=0 is answered without a query of the index', async () => {
  const { mirror, looked } = mirrorOver({ pages: endless, mayBeListed: true });
  expect(await mirror.catalog({ last: undefined, limit: 0 }, new AbortController())).toMatchObject({ names: [] });
  expect(looked()).toBe(0);
});

test('a catalog full of hidden names ends when its client leaves', async () => {
  const { mirror, looked } = mirrorOver({ pages: endless, mayBeListed: false });
  const client = new AbortController();
  const listing = mirror.catalog({ last: undefined, limit: 1 }, client);
  setImmediate(() => client.abort(new Error('the client has left')));
  await expect(listing).rejects.toThrow('the client has left');
  const seen = looked();
  await new Promise((resolve) => setImmediate(resolve));
  expect(looked()).toBe(seen);
});

test('a catalog ends at its limit', async () => {
  const { mirror, looked } = mirrorOver({ pages: endless, mayBeListed: true });
  const { names } = await mirror.catalog({ last: undefined, limit: 301 }, new AbortController());
  expect(names).toHaveLength(301);
  expect(looked()).toBe(2);
});

test('a catalog that the index does not know is no answer, also if the index is lost in the middle', async () => {
  let answers = 0;
  const subjects = [
    mirrorOver({ pages: () => undefined, mayBeListed: true }),
    mirrorOver({ pages: endless, mayBeListed: true, isComplete: () => (answers += 1) < 2 }),
  ];
  for (const { mirror } of subjects) {
    const listing = mirror.catalog({ last: undefined, limit: 1_000 }, new AbortController());
    await expect(listing).rejects.toMatchObject({ reason: 'unavailable', retryAfterSeconds: 5 });
  }
  expect(answers).toBe(2);
});

test('a part of a catalog ends after its time, also while only hidden names are found, and the next one goes on there', async () => {
  const clock = new ManualClock();
  const { mirror, looked } = mirrorOver({
    pages: endless,
    clock,
    mayBeListed: (repository) => {
      clock.advance(1);
      return repository === 'library/n250';
    },
  });
  const wanted = { limit: 10, mostMs: 220 };
  const first = await mirror.catalog({ ...wanted, last: undefined }, new AbortController());
  expect(first).toEqual({ names: [], lookedTo: 'docker.io/library/n219' });
  expect(looked()).toBe(2);
  const second = await mirror.catalog({ ...wanted, last: first.lookedTo }, new AbortController());
  expect(second).toEqual({ names: ['docker.io/library/n250'], lookedTo: 'docker.io/library/n439' });
});
