import { inspect } from 'node:util';
import { expect, test } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { brokenHeads, serveBytes } from './serve-bytes.ts';
import { clientOf, unlimited } from './start-client.ts';

const repository = parseRepository('team/app');
const latest = parseTag('latest');

test.each(Object.entries(brokenHeads))('%s breaks the protocol, and is not requested again', async (_, answer) => {
  const { url, asked } = await serveBytes(() => answer);
  const { client, pausesMs } = clientOf(url);

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'misbehaving' });

  expect(asked).toHaveLength(1);
  expect(pausesMs).toEqual([]);
});

test('a parser error is reported without the bytes that caused it', async () => {
  const { url } = await serveBytes(() => 'HTTP/1.1 200 OK\r\nX-Note: \x01s3cr3t\r\n\r\n');
  const { client } = clientOf(url);

  const failure: unknown = await client.getManifest(repository, latest, unlimited).catch((cause: unknown) => cause);

  expect(failure).toMatchObject({
    message: expect.stringMatching(/broke the protocol \(Invalid header value char\)$/),
  });
  expect(inspect(failure, { depth: 9 })).not.toContain('s3cr3t');
});

test('a blob whose framing breaks within the body is reported as a broken protocol', async () => {
  const { url } = await serveBytes(
    () => 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nworld\r\n',
  );
  const { client } = clientOf(url);
  const { body } = await client.openBlob(repository, digestOf(Buffer.from('hello')), unlimited);
  const pieces: Buffer[] = [];

  const read = async () => {
    for await (const piece of body) pieces.push(Buffer.from(piece));
  };

  await expect(read()).rejects.toMatchObject({ reason: 'misbehaving' });
  expect(Buffer.concat(pieces).toString()).toBe('hello');
});

test.each([
  { what: 'a Content-Length', head: 'Content-Length: 50\r\n\r\nhello' },
  { what: 'chunks', head: 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n' },
])('a body with $what that ends too early is reported as a broken transfer', async ({ head }) => {
  const { url } = await serveBytes(() => `HTTP/1.1 200 OK\r\n${head}`);
  const { client } = clientOf(url);

  await expect(client.getManifest(repository, latest, unlimited)).rejects.toMatchObject({ reason: 'connect' });
});
