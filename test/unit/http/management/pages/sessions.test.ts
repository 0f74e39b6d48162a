import { expect, test } from 'vitest';
import { Sessions } from '../../../../../src/http/management/pages/sessions.ts';
import { ownPath } from '../../../../../src/http/management/pages/views/login.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const token = 'a'.repeat(40);

function sessions(most?: number) {
  const clock = new ManualClock();
  const file = { token: token as string | undefined };
  const readToken = async () => file.token ?? Promise.reject(new Error('no file'));
  return { clock, file, kept: new Sessions({ clock, readToken, ...(most !== undefined && { most }) }) };
}

test('only the token begins a session, and each has an id and a form token of its own', async () => {
  const { kept } = sessions();
  expect(await kept.begin('b'.repeat(40))).toBeUndefined();
  expect(await kept.begin('')).toBeUndefined();
  const [one, two] = [await kept.begin(token), await kept.begin(token)];
  expect(one).not.toBe(two);
  expect(one?.length).toBeGreaterThanOrEqual(43);
  const tokens = [await kept.find(one ?? ''), await kept.find(two ?? '')].map((session) => session?.formToken);
  expect(new Set(tokens).size).toBe(2);
  expect(await kept.find('nonsense')).toBeUndefined();
});

test('beyond the bound the oldest session ends', async () => {
  const { kept } = sessions(3);
  const ids = [];
  for (let begun = 0; begun < 5; begun += 1) ids.push((await kept.begin(token)) ?? '');
  const found = await Promise.all(ids.map((id) => kept.find(id)));
  expect(found.map((session) => session !== undefined)).toEqual([false, false, true, true, true]);
  expect(kept.size).toBe(3);
});

test('a session ends after twelve hours, and when the token becomes another one', async () => {
  const { kept, clock, file } = sessions();
  const id = (await kept.begin(token)) ?? '';
  clock.advance(12 * 3_600_000 - 1);
  expect(await kept.find(id)).toBeDefined();
  clock.advance(1);
  expect(await kept.find(id)).toBeUndefined();
  const next = (await kept.begin(token)) ?? '';
  file.token = 'c'.repeat(40);
  expect(await kept.find(next)).toBeUndefined();
  file.token = token;
  expect(await kept.find(next)).toBeUndefined();
});

test('while the token cannot be read no session holds', async () => {
  const { kept, file } = sessions();
  const id = (await kept.begin(token)) ?? '';
  file.token = undefined;
  expect(await kept.find(id)).toBeUndefined();
  await expect(kept.begin(token)).rejects.toThrow('no file');
  file.token = token;
  expect(await kept.find(id)).toBeDefined();
});

test.each([
  ['/browse?text=a', '/browse?text=a'],
  ['//evil.test/', '/'],
  ['/\\evil.test', '/'],
  ['https://evil.test', '/'],
  ['javascript:alert(1)', '/'],
  ['', '/'],
  ['/a/../..//b', '/'],
])('after the sign-in a browser goes to a page of this listener only: %s', (text, path) => {
  expect(ownPath(text)).toBe(path);
});
