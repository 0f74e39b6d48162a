import { expect, test } from 'vitest';
import { ask, isComplete } from '../support/client.ts';
import { randomBlob } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { brokenHeads, serveBytes } from '../unit/upstream/serve-bytes.ts';

const manifest = '/v2/library/app/manifests/1';
const blob = `/v2/library/app/blobs/${randomBlob(1_000).digest}`;

test.each(Object.entries(brokenHeads))(
  'an upstream that sends %s is answered for by 502, after one request',
  async (_, answer) => {
    const { url, asked } = await serveBytes(() => answer);
    const app = await startApp(mirrorOf({ url }));

    for (const path of [manifest, blob]) expect((await ask(app, path)).status).toBe(502);

    expect(asked).toHaveLength(2);
  },
);

test('a blob whose framing breaks within the body is cut, and the upstream is not asked for the rest', async () => {
  const { url, asked } = await serveBytes(
    () => `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n${'a'.repeat(500)}\r\nzz\r\n`,
  );
  const app = await startApp(mirrorOf({ url }));

  expect(await isComplete(app, blob)).toBe(false);

  expect(asked).toHaveLength(1);
});
