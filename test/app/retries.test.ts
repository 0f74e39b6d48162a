import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { image, referrerOf } from '../support/images.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const cold = image();
const [blob] = cold.blobs;
const manifest = (reference: string): string => `/v2/${repository}/manifests/${reference}`;
const unknown = (name: string): string => manifest(`unknown-${name}`);

async function start(): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', cold, [referrerOf(cold.manifest)]);
  return { upstream, app: await startAppInMemory(mirrorOf(upstream)) };
}

const questions = [
  { what: 'a manifest', path: manifest('1') },
  { what: 'a HEAD of a manifest', path: manifest('1'), method: 'HEAD' },
  { what: 'a blob', path: `/v2/${repository}/blobs/${blob?.digest}` },
  { what: 'a HEAD of a blob', path: `/v2/${repository}/blobs/${blob?.digest}`, method: 'HEAD' },
  { what: 'a list of tags', path: `/v2/${repository}/tags/list` },
  { what: 'a list of referrers', path: `/v2/${repository}/referrers/${cold.manifest.digest}` },
];

const transientErrors: readonly { readonly how: string; readonly fault: Fault }[] = [
  { how: 'answers 500', fault: { status: 500 } },
  { how: 'answers 502', fault: { status: 502 } },
  { how: 'answers 503', fault: { status: 503 } },
  { how: 'answers 503 with Retry-After: 0', fault: { status: 503, headers: { 'retry-after': '0' } } },
  { how: 'answers 504', fault: { status: 504 } },
  { how: 'closes the connection', fault: { dropConnection: true } },
];

test.each(transientErrors.flatMap((one) => questions.map((other) => ({ ...one, ...other }))))(
  'an upstream that $how once delays $what by a moment, and no client learns of it',
  async ({ fault, path, method = 'GET' }) => {
    const { upstream, app } = await start();
    upstream.script({ times: 1 }, fault);
    expect((await ask(app, path, { method })).status).toBe(200);
    expect(upstream.count()).toBe(2);
  },
);

test.each(questions.filter(({ what, method }) => method !== 'HEAD' && what !== 'a blob'))(
  'an answer that breaks off before a client got any of it is requested again: $what',
  async ({ path }) => {
    const { upstream, app } = await start();
    upstream.script({ times: 1 }, { cutAfterBytes: 10 });
    expect((await ask(app, path)).status).toBe(200);
    expect(upstream.count()).toBe(2);
  },
);

test('a token endpoint that answers 503 once is asked again', async () => {
  const auth = { kind: 'bearer', username: 'robot', password: 's3cr3t', privateRepositories: [] } as const;
  const upstream = await startFakeRegistry({ auth });
  upstream.content.add(repository, '1', cold);
  const app = await startAppInMemory(mirrorOf(upstream));
  upstream.script({ path: /token/, times: 1 }, { status: 503 });
  expect((await ask(app, manifest('1'))).status).toBe(200);
  expect(upstream.count('GET', /token/)).toBe(2);
});

test('an upstream that fails three times in a row fails the pull, without a fourth request', async () => {
  const { upstream, app } = await start();
  upstream.script({}, { status: 503 });
  expect((await ask(app, manifest('1'))).status).toBe(503);
  expect(upstream.count()).toBe(3);
});

test.each([
  { what: '401', fault: { status: 401 }, answers: 403 },
  { what: '403', fault: { status: 403 }, answers: 403 },
  { what: '404', fault: { status: 404 }, answers: 404 },
  { what: '429', fault: { status: 429 }, answers: 429 },
  { what: '501', fault: { status: 501 }, answers: 503 },
  { what: '503, in two seconds', fault: { status: 503, headers: { 'retry-after': '2' } }, answers: 503 },
])('a definite answer ($what) is not retried', async ({ answers, fault }) => {
  const { upstream, app } = await start();
  upstream.script({ method: 'GET', path: /manifests/ }, fault);
  expect((await ask(app, manifest('1'))).status).toBe(answers);
  expect(upstream.count('GET', /manifests/)).toBe(1);
});

test('a pull with three failed tries counts as one failure: two such pulls do not open the circuit', async () => {
  const { upstream, app } = await start();
  upstream.script({ times: 6 }, { status: 503 });
  for (const name of ['a', 'b']) expect((await ask(app, unknown(name))).status).toBe(503);
  expect(upstream.count()).toBe(6);
  expect((await ask(app, manifest('1'))).status).toBe(200);
});
