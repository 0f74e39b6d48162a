import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type ClusterSecrets, WatchedSecrets } from '../../../../src/app/cluster/cluster-secrets.ts';
import { configOf } from '../../../support/config.ts';
import { thisTest } from '../../../support/owner.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const [first, second] = ['the first secret of the replicas, long enough', 'the second secret of the replicas, as long'];

/** Secrets in a file, looked at every few milliseconds. */
async function watched(text: string) {
  const secretFile = join(await temporaryDirectory(), 'secret');
  await writeFile(secretFile, `${text}\n`);
  const { cluster } = await configOf({
    upstreams: { 'docker.io': {} },
    cluster: { redis: { url: 'redis://127.0.0.1:1' }, advertise: 'http://127.0.0.1:5002', secretFile },
  });
  if (!cluster) throw new Error('no cluster');
  const applied: ClusterSecrets[] = [];
  const failures: unknown[] = [];
  const changed = { applied: Promise.withResolvers<void>(), failed: Promise.withResolvers<void>() };
  const secrets = new WatchedSecrets(cluster, {
    everyMs: 5,
    apply: (now) => {
      applied.push(now);
      if (applied.length > 1) changed.applied.resolve();
    },
    onFailure: (cause) => {
      failures.push(cause);
      changed.failed.resolve();
    },
  });
  thisTest(async () => secrets.stop());
  return { secrets, secretFile, applied, failures, changed };
}

test('a secret in a file is used at the start, and replaced when the file changes', async () => {
  const { secrets, secretFile, applied, changed } = await watched(first);
  await secrets.start();
  expect(applied).toEqual([{ secret: first, previousSecret: undefined, ca: undefined }]);
  await writeFile(secretFile, second);
  await changed.applied.promise;
  expect(applied.at(-1)).toMatchObject({ secret: second });
});

test('a file that cannot be read any more is reported, and its secret stays in use', async () => {
  const { secrets, secretFile, applied, failures, changed } = await watched(first);
  await secrets.start();
  await rm(secretFile);
  await changed.failed.promise;
  expect(String(failures[0])).toContain('cannot be read');
  expect(applied).toHaveLength(1);
});

test('a replica does not start with a secret that can be guessed', async () => {
  const { secrets } = await watched('short');
  await expect(secrets.start()).rejects.toThrow('holds less than 32 bytes');
});
