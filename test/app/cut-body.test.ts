import { expect, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { content, image, randomBlob } from '../support/images.ts';
import { startRawServer } from '../support/raw-server.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const mebibyte = 1024 * 1024;

interface Body {
  readonly type: string;
  readonly bytes: Buffer;
}

/** An upstream that never keeps a connection, and ends it after so many bytes of a body, whatever length it has promised. */
async function startCutting(
  framing: '1.0' | '1.1' | '1.1 in chunks' | '1.0 without a length',
  { bodies, endsAfter }: { bodies: Readonly<Record<string, Body>>; endsAfter: (nth: number) => number },
) {
  const asked: string[] = [];
  const version = framing.slice(0, 3);
  const isChunked = framing === '1.1 in chunks';
  const saysLength = framing !== '1.0 without a length';
  const url: string = await startRawServer((socket, text) => {
    const [, method = '', path = ''] = /^(\S+) (\S+)/.exec(text) ?? [];
    const range = /^range: bytes=(\d+)-/im.exec(text)?.[1];
    const isToken = path.startsWith('/token');
    if (bodies['/token'] && !isToken && !/^authorization: bearer /im.test(text))
      return void socket.end(
        `HTTP/${version} 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer realm="${url}/token"\r\nConnection: close\r\n\r\n`,
      );
    const body = bodies[path.split('?')[0] ?? ''];
    if (!body)
      return void socket.end(`HTTP/${version} 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    asked.push(`${method} ${range ?? ''}`.trim());
    const size = body.bytes.length;
    const rest = body.bytes.subarray(Number(range ?? 0));
    const status = range === undefined ? '200 OK' : `206 Part\r\nContent-Range: bytes ${range}-${size - 1}/${size}`;
    const sent = rest.subarray(0, endsAfter(asked.length));
    const length = isChunked ? 'Transfer-Encoding: chunked' : `${saysLength ? '' : 'X-'}Content-Length: ${rest.length}`;
    socket.write(`HTTP/${version} ${status}\r\nContent-Type: ${body.type}\r\n${length}\r\nConnection: close\r\n\r\n`);
    if (isChunked) socket.write(`${sent.length.toString(16)}\r\n`);
    socket.write(sent);
    socket.end(isChunked ? `\r\n${sent.length === rest.length ? '0\r\n\r\n' : ''}` : '');
  });
  return { url, asked };
}

test.each(['1.0', '1.1', '1.1 in chunks'] as const)(
  'a blob of 24 MiB arrives whole in three requests from an upstream that closes every connection after 9 MiB, over HTTP/%s',
  async (version) => {
    const blob = randomBlob(24 * mebibyte);
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    const bodies = { [path]: { type: 'application/octet-stream', bytes: blob.bytes } };
    const upstream = await startCutting(version, { bodies, endsAfter: () => 9 * mebibyte });
    const app = await startApp(mirrorOf(upstream));
    expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
    expect(upstream.asked).toEqual(['GET', `GET ${9 * mebibyte}`, `GET ${18 * mebibyte}`]);
    await app.quiet();
    expect((await ask(app, path)).cache).toBe('hit');
  },
);

test('a blob arrives whole in three requests from an upstream that never names its length, once its manifest does', async () => {
  const blob = randomBlob(24 * mebibyte);
  const layers = [
    { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: blob.digest, size: blob.bytes.length },
  ];
  const manifest = content(ociManifest, Buffer.from(JSON.stringify({ schemaVersion: 2, layers })));
  const path = `/v2/${repository}/blobs/${blob.digest}`;
  const bodies = {
    [`/v2/${repository}/manifests/1`]: { type: ociManifest, bytes: manifest.bytes },
    [path]: { type: 'application/octet-stream', bytes: blob.bytes },
  };
  const upstream = await startCutting('1.0 without a length', { bodies, endsAfter: () => 9 * mebibyte });
  const app = await startApp(mirrorOf(upstream));
  expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(200);
  expect((await ask(app, path)).body.equals(blob.bytes)).toBe(true);
  expect(upstream.asked.slice(1)).toEqual(['GET', `GET ${9 * mebibyte}`, `GET ${18 * mebibyte}`]);
});

const built = image();
const tags = Buffer.from(JSON.stringify({ name: repository, tags: ['1', '2'] }));

const documents = [
  { what: 'manifest', path: `/v2/${repository}/manifests/1`, type: ociManifest, bytes: built.manifest.bytes },
  { what: 'list of tags', path: `/v2/${repository}/tags/list`, type: 'application/json', bytes: tags },
];
const framings = ['1.1', '1.1 in chunks', '1.0 without a length'] as const;

test.each(framings.flatMap((framing) => documents.map((document) => ({ framing, ...document }))))(
  'a $what that is cut is requested again, over HTTP/$framing',
  async ({ framing, path, type, bytes }) => {
    const upstream = await startCutting(framing, {
      bodies: { [path]: { type, bytes } },
      endsAfter: (nth) => (nth === 1 ? 10 : bytes.length),
    });
    const app = await startApp(mirrorOf(upstream));
    const answer = await ask(app, path);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body.toString())).toEqual(JSON.parse(bytes.toString()));
    expect(upstream.asked).toEqual(['GET', 'GET']);
  },
);

test.each(framings)('a token that is cut is requested again, over HTTP/%s', async (framing) => {
  const path = `/v2/${repository}/manifests/1`;
  const token = { type: 'application/json', bytes: Buffer.from(JSON.stringify({ token: 'good' })) };
  const bodies = { '/token': token, [path]: { type: ociManifest, bytes: built.manifest.bytes } };
  const upstream = await startCutting(framing, { bodies, endsAfter: (nth) => (nth === 1 ? 10 : mebibyte) });
  const app = await startApp(mirrorOf(upstream));
  expect((await ask(app, path)).status).toBe(200);
  expect(upstream.asked).toHaveLength(3);
});
