import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { ociManifest } from '../../src/oci/media-types.ts';
import { ask, caughtUp } from '../support/client.ts';
import { pump } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Content, content, randomBlob } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const repository = 'library/app';
const mib = 1024 * 1024;
const names = ['first-bad.test', 'second-bad.test', 'good.test'] as const;

/** A mirror of two hostile upstreams and an honest one. */
async function mirrorBefore(more: object = {}) {
  const [first, second, good] = [await startFakeRegistry(), await startFakeRegistry(), await startFakeRegistry()];
  const entries = [first, second, good].map(({ url }, at) => [names[at], { url }] as const);
  const app = await startApp({ defaultUpstream: 'good.test', upstreams: Object.fromEntries(entries), ...more });
  return { app, hostile: [first, second] as const, good };
}

/** Asks, and goes away with the test. */
function keepAsking(app: RunningApp, path: string): void {
  const asked = request(
    `${app.url}${path}`,
    { agent: false },
    (response) => void response.resume().on('error', () => {}),
  );
  asked.on('error', () => {}).end();
  onTestFinished(() => void asked.destroy());
}

function blobPath({ digest }: Content, upstream: string): string {
  return `/v2/${repository}/blobs/${digest}?ns=${upstream}`;
}

function manifestPath({ digest }: Content, upstream: string): string {
  return `/v2/${repository}/manifests/${digest}?ns=${upstream}`;
}

/** A valid manifest of about so many bytes. */
function manifestOf(bytes: number): Content {
  const note = randomBytes(bytes / 2).toString('hex');
  return content(ociManifest, Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [], annotations: { note } })));
}

function add(registry: FakeRegistry, manifest: Content): void {
  registry.content.add(repository, manifest.digest.slice(7, 20), { manifest, children: [], blobs: [] });
}

test('two upstreams that hold all slots and send just fast enough do not block blobs of a third', async () => {
  const wanted = randomBlob(300_000, 'wanted');
  const { app, hostile, good } = await mirrorBefore({ download: { maxConcurrent: 4 } });
  good.content.addBlob(repository, wanted);
  for (const [at, bad] of hostile.entries()) {
    const held = Array.from({ length: 3 }, (_, nth) => randomBlob(500_000, `${at} ${nth}`));
    for (const blob of held) bad.content.addBlob(repository, blob);
    bad.script({ path: /\/blobs\// }, { pump: pump() });
    for (const blob of held) keepAsking(app, blobPath(blob, names[at] ?? ''));
    await bad.arrived('GET', /\/blobs\//, 3);
  }
  await caughtUp(app);
  // The clock stands still: none of them counts as slow.
  expect((await ask(app, blobPath(wanted, 'good.test'))).body.equals(wanted.bytes)).toBe(true);
});

test('two upstreams whose large manifests never end do not block large manifests of a third', async () => {
  const wanted = manifestOf(mib);
  const { app, hostile, good } = await mirrorBefore({ download: { bufferBudget: '16MiB' } });
  add(good, wanted);
  for (const [at, bad] of hostile.entries()) {
    const held = Array.from({ length: 4 }, () => manifestOf(4 * mib - 1_000));
    for (const manifest of held) {
      add(bad, manifest);
      const flow = pump();
      flow.release(mib);
      bad.script({ path: new RegExp(manifest.digest) }, { pump: flow });
    }
    for (const manifest of held) keepAsking(app, manifestPath(manifest, names[at] ?? ''));
    await bad.arrived('GET', /\/manifests\//, held.length);
  }
  const reservedBytes = async () => (await app.metrics()).sum('layerwell_memory_reserved_bytes');
  await expect.poll(reservedBytes).toBeGreaterThan(8 * mib - 10_000);
  const answer = ask(app, manifestPath(wanted, 'good.test'));
  const theirs = hostile.flatMap((bad) => bad.seen('GET', /\/manifests\//).map(({ ended }) => ended));
  expect(await Promise.race([answer.then(() => 'before theirs'), ...theirs])).toBe('before theirs');
  expect((await answer).body.equals(wanted.bytes)).toBe(true);
});
