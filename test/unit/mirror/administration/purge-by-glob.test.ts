import { expect, test } from 'vitest';
import { imageGlob, PurgeByGlob, type PurgeByGlobDeps } from '../../../../src/mirror/administration/purge-by-glob.ts';
import type { Purged } from '../../../../src/mirror/administration/purge-removal.ts';
import { repositoryKey, repositoryNamed } from '../../../../src/mirror/ports/repository-id.ts';
import { digestOf } from '../../../../src/oci/digest.ts';

const never = { signal: new AbortController().signal };

function glob(text: string) {
  const found = imageGlob(text);
  if (found === undefined) throw new Error(`${text} is no glob`);
  return found;
}

/** Repositories `docker.io/r000` and so on, each with a content of its own. */
function purgesOf(count: number, more: Partial<PurgeByGlobDeps> = {}) {
  const names = Array.from({ length: count }, (_, at) => `docker.io/r${String(at).padStart(3, '0')}`);
  const asked: string[] = [];
  const answer = async ({ repositoryId }: Parameters<PurgeByGlobDeps['purge']['run']>[0]): Promise<Purged> => {
    const name = repositoryKey(repositoryId);
    asked.push(name);
    const content = { digest: digestOf(Buffer.from(name)), size: 1, diskBytes: 4096, isManifest: false, usedAtMs: 0 };
    return { tags: [], contents: [content], kept: 0 };
  };
  const purges = new PurgeByGlob({
    index: {
      repositories: async ({ last = '', limit }) => names.filter((name) => name > last).slice(0, limit),
    },
    purge: { plan: answer, run: answer, unfinished: () => [] },
    ...more,
  });
  return { purges, asked, names };
}

async function ended<Item, Result>(steps: AsyncGenerator<Item, Result>) {
  const items: Item[] = [];
  for (let step = await steps.next(); ; step = await steps.next()) {
    if (step.done) return { items, end: step.value };
    items.push(step.value);
  }
}

test('every page of repositories is purged, and only those that match', async () => {
  const { purges, asked, names } = purgesOf(600);
  expect(await ended(purges.run(glob('docker.io/r*5'), never))).toMatchObject({ end: undefined });
  expect(asked).toEqual(names.filter((name) => name.endsWith('5')));
});

test('whoever waits may leave between two repositories', async () => {
  const { purges, asked } = purgesOf(10);
  const leaving = new AbortController();
  const steps = purges.run(glob('docker.io/**'), { signal: leaving.signal });
  await steps.next();
  leaving.abort(new Error('left'));
  await expect(steps.next()).rejects.toThrow('left');
  expect(asked).toHaveLength(1);
});

test('a plan with more contents than it holds in memory is refused; a purge holds those of one repository only', async () => {
  const { purges } = purgesOf(10, { mostContents: 5 });
  expect(await ended(purges.plan(glob('**'), never))).toMatchObject({ items: { length: 5 }, end: 'too-many' });
  expect(await ended(purges.run(glob('**'), never))).toMatchObject({ items: { length: 10 }, end: undefined });
});

test('a purge ends where the index cannot be read; a repository that is refused does not end it', async () => {
  let pages = 0;
  const { purges } = purgesOf(300, {
    index: { repositories: async ({ limit }) => (pages++ === 0 ? Array(limit).fill('docker.io/a') : undefined) },
    purge: { plan: async () => 'unreadable', run: async () => 'too-many', unfinished: () => [] },
  });
  const { items, end } = await ended(purges.run(glob('**'), never));
  expect(end).toBe('unreadable');
  expect(items).toHaveLength(250);
  expect(items[0]).toMatchObject({ reason: 'too-many' });
});

test('a repository that the index does not name any more is purged too, if an earlier purge has left something of it', async () => {
  const purge = purgesOf(1);
  const unfinished = ['docker.io/r000', 'docker.io/left', 'quay.io/other'].map(repositoryNamed);
  const { purges, asked } = purgesOf(2, {
    purge: {
      plan: async () => 'unknown',
      run: async (target) => {
        asked.push(repositoryKey(target.repositoryId));
        return 'unreadable';
      },
      unfinished: (kind) => (kind === 'repository' ? unfinished : []),
    },
  });
  expect(purge.asked).toEqual([]);
  await ended(purges.run(glob('docker.io/*'), never));
  expect(asked).toEqual(['docker.io/r000', 'docker.io/r001', 'docker.io/left']);
});

test.each([
  ['docker.io/library/*', 'docker.io/library/nginx', undefined, true],
  ['docker.io/library/*', 'docker.io/library/a/b', undefined, false],
  ['localhost:5000/**', 'localhost:5000/a/b', undefined, true],
  ['**:*-dev', 'quay.io/a/b', '1-dev', true],
  ['**:*-dev', 'quay.io/a/b', '1', false],
])('%s over %s:%s', (text, name, tag, isMatch) => {
  const { matchesRepository, matchesTag } = glob(text);
  expect(matchesRepository(name) && (tag === undefined ? matchesTag === undefined : matchesTag?.(tag))).toBe(isMatch);
});
