import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { ArrivingTar, leastRate as least, TooSlow } from '../../../../src/app/administration/archives/tar.ts';
import { tar } from '../../../support/tar.ts';

const { signal } = new AbortController();

async function namesIn(archive: ArrivingTar): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name, body } of archive.entries()) {
    names.push(name);
    for await (const _ of body);
  }
  return names;
}

test('a sender that sends nothing for too long ends the archive', async () => {
  const incoming = new PassThrough();
  incoming.write(tar({ one: 'x' }).subarray(0, 700));
  await expect(namesIn(new ArrivingTar(incoming, { signal, idleMs: 5, least }))).rejects.toThrow(TooSlow);
  expect(incoming.destroyed).toBe(false); // Its sender is to get an answer.
});

test('an archive ends when it is no longer wanted', async () => {
  const stopping = new AbortController();
  const names = namesIn(new ArrivingTar(new PassThrough(), { signal: stopping.signal, idleMs: 60_000, least }));
  stopping.abort(new Error('stopping'));
  await expect(names).rejects.toThrow('stopping');
});
