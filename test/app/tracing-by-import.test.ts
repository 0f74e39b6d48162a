import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { get } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

interface Span {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parent?: string;
}

test('an operator loads an SDK with --import, and pulls are traced, also the last one before the end', async () => {
  const file = join(await temporaryDirectory(), 'spans');
  const sdk = resolve('test/support/spans-to-file.ts');
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', image());
  const env = { NODE_OPTIONS: `--import ${sdk}`, TEST_SPANS: file };
  const mirror = await startMirror(mirrorOf(upstream), { env });
  await get(mirror, '/v2/library/app/manifests/1');

  const spans = async () => {
    const lines = (await readFile(file, 'utf8')).trim().split('\n');
    return lines.map((line): Span => JSON.parse(line));
  };
  await mirror.logged(({ msg }) => msg === 'request');
  const lines = mirror.logLines();
  await mirror.stop();
  const ended = await spans();
  const served = ended.find(({ name }) => name === 'GET /v2/{name}/manifests/{reference}');
  const asked = ended.find(({ name }) => name === 'GET manifest');
  expect(asked).toMatchObject({ parent: served?.spanId, traceId: served?.traceId });
  expect(lines.find(({ msg }) => msg === 'request')).toMatchObject({ traceId: served?.traceId });
});
