import { describe, expect, test } from 'vitest';
import { configOf, problemsWith } from '../../../support/config.ts';

const upstreams = { 'docker.io': {} };

function withBucket(shared: object) {
  return { upstreams, storage: { shared } };
}

describe('storage.shared', () => {
  test('is absent by default', async () => {
    expect((await configOf({ upstreams })).storage.shared).toBeUndefined();
  });

  test('needs no more than a bucket: the region is that of the environment', async () => {
    expect((await configOf(withBucket({ bucket: 'layers' }))).storage.shared).toMatchObject({
      driver: 's3',
      bucket: 'layers',
      region: undefined,
      prefix: '',
      pathStyle: false,
      checksums: 'when-supported',
    });
  });

  test('does not ask other servers for checksums unless it is told to', async () => {
    const shared = { bucket: 'layers', endpoint: 'http://127.0.0.1:9000' };
    expect((await configOf(withBucket(shared))).storage.shared).toMatchObject({
      region: 'us-east-1',
      checksums: 'when-required',
    });
    const asked = withBucket({ ...shared, checksums: 'when-supported' });
    expect((await configOf(asked)).storage.shared?.checksums).toBe('when-supported');
  });

  test('takes a KMS key only with the encryption that uses it', async () => {
    const shared = { bucket: 'layers', kmsKeyId: 'alias/layers' };
    expect(await problemsWith(withBucket(shared))).toEqual([expect.stringContaining('storage.shared.kmsKeyId')]);
    expect(await configOf(withBucket({ ...shared, serverSideEncryption: 'aws:kms' }))).toBeDefined();
  });

  test.each([
    { bucket: '' },
    { bucket: 'a/b' },
    { bucket: 'layers', prefix: '/layers' },
    { bucket: 'layers', prefix: 'layers/' },
    { bucket: 'layers', prefix: 'x'.repeat(201) },
    { bucket: 'layers', endpoint: 'http://user:password@host' },
    { bucket: 'layers', secretAccessKey: 'secret' },
    {},
  ])('refuses %j', async (shared) => {
    expect(await problemsWith(withBucket(shared))).not.toEqual([]);
  });
});
