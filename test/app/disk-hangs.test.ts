import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { type Gate, gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { type FileCall, ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
/** 25 s outside of tests. */
const requestDeadlineMs = 400;
const built = image({ layerBytes: 70_000 });
const layer = built.blobs[1] ?? built.manifest;

interface Hanging {
  readonly app: RunningApp;
  /** Lets the disk answer again. */
  readonly recovered: Gate;
}

/** A mirror that has an image, and then its disk answers no more of these calls. */
async function hanging(
  hangs: (call: FileCall) => boolean = ({ operation }) => operation !== 'close',
  more: MirrorConfig = {},
): Promise<Hanging> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const files = new ScriptedFiles();
  const app = await startApp(mirrorOf(upstream, more), { files, requestDeadlineMs });
  await pullAll(app, repository, '1');
  await app.quiet();
  const recovered = gate();
  files.before = async (call) => {
    if (hangs(call)) await recovered.opened;
  };
  return { app, recovered };
}

const questions = [
  { what: 'a cached blob', path: `/v2/${repository}/blobs/${layer.digest}` },
  { what: 'a cached blob, by HEAD', path: `/v2/${repository}/blobs/${layer.digest}`, method: 'HEAD' },
  { what: 'a range of it', path: `/v2/${repository}/blobs/${layer.digest}`, headers: { range: 'bytes=5-9' } },
  { what: 'an unknown tag', path: `/v2/${repository}/manifests/unknown` },
  { what: 'the tags', path: `/v2/${repository}/tags/list` },
  { what: 'the referrers', path: `/v2/${repository}/referrers/${built.manifest.digest}` },
];

test.each(questions)(
  'a request for $what on a disk that hangs gets 504 within the request deadline',
  async (question) => {
    const { app, recovered } = await hanging();
    const { path, method = 'GET', headers = {} } = question;
    const answer = await ask(app, path, { method, headers });
    expect(answer.status).toBe(504);
    expect(answer.body.toString()).toMatch(method === 'HEAD' ? /^$/ : /^\{"errors":\[\{"code":"UNAVAILABLE"/);
    recovered.open();
    expect((await ask(app, path, { method, headers })).status).not.toBe(504);
  },
);

test('a blob that opens but hangs when it is read gets 504 too', async () => {
  const { app, recovered } = await hanging(({ operation }) => operation === 'read');
  const path = `/v2/${repository}/blobs/${layer.digest}`;
  expect((await ask(app, path)).status).toBe(504);
  recovered.open();
  expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
});

test('a request that hangs on the disk counts as running until the disk answers, though its client got a 504', async () => {
  const { app, recovered } = await hanging(({ operation }) => operation === 'read', { clients: { maxRequests: 6 } });
  const path = `/v2/${repository}/blobs/${layer.digest}`;
  for (const { status } of await Promise.all(Array.from({ length: 6 }, () => ask(app, path)))) expect(status).toBe(504);
  expect((await ask(app, '/v2/')).status).toBe(503);
  recovered.open();
  await expect.poll(async () => (await ask(app, '/v2/')).status).toBe(200);
  expect((await ask(app, path)).body.equals(layer.bytes)).toBe(true);
});

test('probes and metrics answer while the disk hangs: the store is reported as slow, and unknown values are NaN', async () => {
  const { app, recovered } = await hanging();
  const management = { url: app.managementUrl };
  const ready = await ask(management, '/readyz');
  expect({ status: ready.status, store: JSON.parse(ready.body.toString()).store }).toEqual({
    status: 503,
    store: 'slow',
  });
  const metrics = await app.metrics();
  expect(metrics.sum('layerwell_storage_free_bytes')).toBeNaN();
  expect(metrics.sum('layerwell_http_requests_total', { code: '200' })).toBe(3);
  recovered.open();
  expect((await ask(management, '/readyz')).status).toBe(200);
  expect((await app.metrics()).sum('layerwell_storage_free_bytes')).toBeGreaterThan(0);
});
