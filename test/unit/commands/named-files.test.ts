import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fileProblems } from '../../../src/commands/named-files.ts';
import { configOf } from '../../support/config.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

test('files of Redis and of the cluster that cannot be read, and a secret that is short, are problems', async () => {
  const secretFile = join(await temporaryDirectory(), 'secret');
  await writeFile(secretFile, 'short');
  const config = await configOf({
    upstreams: { 'quay.io': {} },
    index: {
      driver: 'redis',
      urlFile: '/nowhere/url',
      passwordFile: '/nowhere/password',
      tls: { caFile: '/nowhere/ca' },
    },
    cluster: {
      redis: { sentinels: ['s:1'], name: 'n', sentinelPasswordFile: '/nowhere/sentinel' },
      advertise: 'http://replica:5002',
      secretFile,
      tls: { caFile: '/nowhere/ca' },
    },
  });
  expect(await fileProblems(config)).toEqual([
    'index.urlFile: /nowhere/url cannot be read: ENOENT',
    'index.passwordFile: /nowhere/password cannot be read: ENOENT',
    'index.tls.caFile: /nowhere/ca cannot be read: ENOENT',
    'cluster.redis.sentinelPasswordFile: /nowhere/sentinel cannot be read: ENOENT',
    `cluster.secretFile: ${secretFile} holds less than 32 bytes`,
    'cluster.tls.caFile: /nowhere/ca cannot be read: ENOENT',
  ]);
});

test('a token of the management API that can be guessed is a problem, as is no file', async () => {
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, 'short');
  const problemsOf = async (file: string) =>
    fileProblems(await configOf({ upstreams: { 'quay.io': {} }, management: { tokenFile: file } }));
  expect(await problemsOf(tokenFile)).toEqual([`management.tokenFile: ${tokenFile} holds less than 32 bytes`]);
  expect(await problemsOf('/nowhere')).toEqual(['management.tokenFile: /nowhere cannot be read: ENOENT']);
});

test('the secret of a webhook that is no key is a problem, as is a CA that cannot be read', async () => {
  const secretFile = join(await temporaryDirectory(), 'secret');
  await writeFile(secretFile, 'short');
  const webhook = { name: 'ops', url: 'https://hooks.test/', secretFile, tls: { caFile: '/nowhere/ca' } };
  const config = await configOf({ upstreams: { 'quay.io': {} }, events: { webhooks: [webhook] } });
  expect(await fileProblems(config)).toEqual([
    'events.webhooks[0].secretFile: expected 24 to 64 bytes in base64, after "whsec_"',
    'events.webhooks[0].tls.caFile: /nowhere/ca cannot be read: ENOENT',
  ]);
});
