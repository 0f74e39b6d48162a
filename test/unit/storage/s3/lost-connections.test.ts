import { expect, test } from 'vitest';
import { startFakeS3 } from '../../../support/fake-s3.ts';
import { startRawServer } from '../../../support/raw-server.ts';
import { bucketParts, waiting } from './parts.ts';

test('a bucket that ends every connection without an answer is lost, not slow', async () => {
  const endpoint = await startRawServer((socket) => socket.end());
  const s3 = await startFakeS3();
  const { objects } = bucketParts({ ...s3.settings, endpoint });
  await expect(objects.open('v1/x', waiting)).rejects.toMatchObject({ reason: 'connect' });
});
