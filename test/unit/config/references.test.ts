import { expect, test } from 'vitest';
import { configOf, problemsWith, refusalOf } from '../../support/config.ts';

const withPassword = (password: string) => ({
  upstreams: { 'ghcr.io': { visibility: 'public', credentials: [{ kind: 'basic', username: 'u', password }] } },
});
const where = 'upstreams["ghcr.io"].credentials[0].password';

async function passwordOf(password: string, surroundings: Parameters<typeof configOf>[1]) {
  const { upstreams } = await configOf(withPassword(password), surroundings);
  return upstreams[0]?.credentials[0];
}

test('${env:NAME} and ${file:/path} are replaced anywhere in a text, several times', async () => {
  const surroundings = { env: { A: 'a', B: 'b' }, files: { '/run/secret': 'c\n', '/etc/layerwell/near': 'd\r\n' } };
  expect(await passwordOf('<${env:A}-${env:B}-${file:/run/secret}-${file:near}>', surroundings)).toMatchObject({
    password: { text: '<a-b-c-d>' },
  });
});

test('a replaced text is not searched for references again', async () => {
  expect(await passwordOf('${env:A}', { env: { A: '${env:B}', B: 'b' } })).toMatchObject({
    password: { text: '${env:B}' },
  });
});

test('only the last line break of a file is dropped', async () => {
  const { listen } = await configOf(
    { listen: { host: '${file:/host}' }, upstreams: { 'ghcr.io': {} } },
    { files: { '/host': ' ::1\n' } },
  );
  expect(listen.host).toBe(' ::1');
});

test('a reference to a duration is parsed as one', async () => {
  const config = await configOf(
    { freshness: { tag: '${env:TAG}' }, upstreams: { 'ghcr.io': {} } },
    { env: { TAG: '2m' } },
  );
  expect(config.freshness.tagMs).toBe(120_000);
});

test('a missing variable or file is reported with the key that needs it, and nothing else about that key', async () => {
  const config = { ...withPassword('${env:NOPE}'), freshness: { tag: '${file:/nope}' } };
  expect(await problemsWith(config)).toEqual(
    [
      'freshness.tag: the file /nope cannot be read: ENOENT',
      `${where}: the environment variable NOPE is not set`,
    ].toSorted((a, b) => b.localeCompare(a)),
  );
});

test('an empty variable counts as set', async () => {
  expect(await problemsWith(withPassword('${env:EMPTY}'), { env: { EMPTY: '' } })).toEqual([
    `${where}: expected a text that is not empty`,
  ]);
});

test.each(['${ENV:A}', '${A}', '${env:}', 'a${b}c'])('%s is rejected and not taken literally', async (text) => {
  expect((await problemsWith(withPassword(text)))[0]).toContain('expected ${env:NAME} or ${file:/path}');
});

test('no error contains a secret, however wrong its key', async () => {
  const error = await refusalOf(
    {
      ...withPassword('line\nbreak ${env:SECRET}'),
      listen: { port: '${env:SECRET}' },
      freshness: { tag: '${env:SECRET}' },
      upstreams: {
        'ghcr.io': {
          url: 'https://u:${env:SECRET}@ghcr.io',
          credentials: [{ kind: '${env:SECRET}' }, { kind: 'basic', username: 'u', passwrd: 'hunter2' }],
        },
      },
    },
    { env: { SECRET: 'hunter2' } },
  );
  const shown = `${error.message}${error.stack}${JSON.stringify(error.problems)}${String(error.cause)}`;
  expect(error.problems.length).toBeGreaterThanOrEqual(5);
  expect(shown).not.toContain('hunter2');
});
