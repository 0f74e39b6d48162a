import { expect, test } from 'vitest';
import { gate } from '../../../support/gate.ts';
import { expired, gone, headOf, one, repositoryId, tag, tooSlow, two } from './scripted-tags.ts';

test('no client waits for a slow upstream, and its late answer is served next', async () => {
  const { resolve, script, asked } = await expired();
  const answer = gate();
  script.head = () => answer.opened.then(() => headOf(two));
  script.timeout = tooSlow();
  const leaving = new AbortController();
  expect(await resolve({ signal: leaving.signal })).toMatchObject({ cache: { word: 'stale', reason: 'timeout' } });
  leaving.abort(new Error('the client left'));
  answer.open();
  await expect.poll(async () => (await resolve()).record.digest).toBe(two.digest);
  expect(asked).toEqual(['HEAD latest']);
});

test('clients that come while a slow upstream has not answered yet cause no further request', async () => {
  const { resolve, script, asked, tagRecords } = await expired({ tagMs: 0 });
  const answer = gate();
  script.head = () => answer.opened.then(() => headOf(two));
  script.timeout = tooSlow();
  for (let pull = 0; pull < 3; pull += 1) expect((await resolve()).cache.word).toBe('stale');
  expect(asked).toEqual(['HEAD latest']);
  answer.open();
  await expect.poll(() => tagRecords.remembered(repositoryId, tag)?.digest).toBe(two.digest);
});

test('a late 404 fails the clients that wait for it, and the tag loses its record', async () => {
  const { resolve, script, cached, tagRecords } = await expired();
  const answer = gate();
  script.head = () => answer.opened.then(() => Promise.reject(gone));
  script.timeout = tooSlow();
  cached.clear();
  const resolved = resolve();
  resolved.catch(() => {});
  answer.open();
  await expect(resolved).rejects.toBe(gone);
  expect(tagRecords.remembered(repositoryId, tag)).toBeUndefined();
});

test('clients wait for a slow upstream when there is no stale fallback', async () => {
  const { resolve, script, cached } = await expired();
  const answer = gate();
  script.head = () => answer.opened.then(() => headOf(one));
  script.timeout = tooSlow();
  cached.clear();
  const resolved = resolve();
  answer.open();
  expect((await resolved).cache.word).toBe('revalidated');
});
