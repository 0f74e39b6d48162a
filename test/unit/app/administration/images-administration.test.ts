import { expect, test } from 'vitest';
import { CachedImages } from '../../../../src/app/administration/images-administration.ts';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { gate } from '../../../support/gate.ts';

const question = {
  repositoryId: { upstream: 'docker.io', repository: parseRepository('library/app') },
  reference: parseTag('1'),
  platform: undefined,
  isForClients: false,
};
const staying = { signal: new AbortController().signal };
const labelOf = (name: string) => name;

test('a disk that hangs is told after a while, and holds only so many lookups, however many clients come', async () => {
  const disk = gate();
  let begun = 0;
  const find = async () => {
    begun += 1;
    await disk.opened;
    return 'unknown' as const;
  };
  const images = new CachedImages({ images: { find }, labelOf, withinMs: 5 });
  for (let asked = 0; asked < 16; asked += 1)
    await expect(images.details(question, staying)).rejects.toThrow('the disk or the index does not answer');
  for (let asked = 0; asked < 5; asked += 1)
    await expect(images.details(question, staying)).rejects.toMatchObject({
      kind: 'unavailable',
      message: 'too many images are looked into',
    });
  expect(begun).toBe(16);
  disk.open();
  await expect.poll(() => images.details(question, staying).catch(({ kind }) => kind)).toBe('not-found');
});

test('a client that leaves is not waited for, and no memory now is no bug', async () => {
  const leaving = new AbortController();
  const never = new CachedImages({ images: { find: () => gate().opened.then(() => 'unknown') }, labelOf });
  const asked = never.details(question, { signal: leaving.signal });
  leaving.abort(new Error('the client has left'));
  await expect(asked).rejects.toThrow('the client has left');
  const busy = async () => Promise.reject(new UpstreamError('busy', 'no memory'));
  const full = new CachedImages({ images: { find: busy }, labelOf });
  await expect(full.details(question, staying)).rejects.toMatchObject({ kind: 'unavailable' });
});
