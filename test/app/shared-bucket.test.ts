import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { BucketLayout } from '../../src/storage/s3/bucket-layout.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type FakeS3, startFakeS3 } from '../support/fake-s3.ts';
import { gate } from '../support/gate.ts';
import { type Image, image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { get, pullAll, pullBlob } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const layout = new BucketLayout('');
const large = image({ name: 'shared', layers: 3, layerBytes: 200_000 });

const someAccount = { kind: 'basic', username: 'mirror', password: 'secret' };

function sharing(upstream: FakeRegistry, s3: FakeS3, more: MirrorConfig = {}, shared: MirrorConfig = {}): MirrorConfig {
  const { bucket, endpoint, pathStyle } = s3.settings;
  return mirrorOf(upstream, { storage: { shared: { bucket, endpoint, pathStyle, ...shared } }, ...more });
}

async function uploaded(app: RunningApp): Promise<void> {
  await app.quiet();
  while ((await app.metrics()).sum('layerwell_shared_storage_uploads_queued') > 0);
}

function layersOf({ blobs }: Image): readonly Digest[] {
  return blobs.map(({ digest }) => digest);
}

/** An upstream, a bucket, and a replica that has pulled the image and uploaded it. */
async function pulledByOne() {
  const [upstream, s3] = [await startFakeRegistry(), await startFakeS3()];
  upstream.content.add(repository, '1', large);
  const one = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
  await pullAll(one, repository, '1');
  await uploaded(one);
  upstream.forgetRequests();
  s3.requests.length = 0;
  return { upstream, s3, one };
}

describe('a bucket that replicas share', () => {
  test('a replica that never saw an image pulls its content from the bucket, not from the upstream', async () => {
    const { upstream, s3 } = await pulledByOne();
    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    await pullAll(two, repository, '1');

    // The tag is the upstream's to tell; nothing else is asked there.
    expect(upstream.count('GET', /blobs/)).toBe(0);
    expect(upstream.count('GET', /manifests\/sha256/)).toBe(0);
    expect((await two.metrics()).sum('layerwell_blob_source_bytes_total', { source: 'shared' })).toBeGreaterThan(
      600_000,
    );
  });

  test('what is local costs no call, and a blob that is not costs one', async () => {
    const { upstream, s3, one } = await pulledByOne();
    await pullAll(one, repository, '1');
    expect(s3.story).toEqual([]);

    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    await get(two, `/v2/${repository}/manifests/${large.manifest.digest}`);
    s3.requests.length = 0;
    for (const digest of layersOf(large)) await pullBlob(two, repository, digest);
    expect(s3.story.toSorted()).toEqual(
      layersOf(large)
        .map((digest) => `GetObject ${layout.blob(digest)}`)
        .toSorted(),
    );
    await uploaded(two);
    // It came from the bucket: nothing is uploaded again.
    expect(s3.count('PutObject')).toBe(0);
  });

  test('with the upstream dead, a replica that never saw an image serves it whole, by tag, marked stale', async () => {
    const { upstream, s3 } = await pulledByOne();
    await upstream.stop();
    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    const { digest, parts } = await pullAll(two, repository, '1');
    expect(digest).toBe(large.manifest.digest);
    expect(parts.get(digest)?.cache).toMatch(/stale/);
  });

  test('a repository that is not linked to a blob gets it from nobody but its own upstream', async () => {
    const { upstream, s3 } = await pulledByOne();
    const [secret = large.manifest.digest] = layersOf(large);
    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    const answer = await get(two, `/v2/library/other/blobs/${secret}`);
    expect(answer.status).toBe(404);
    expect(upstream.count('GET', /other\/blobs/)).toBe(1);
    expect(s3.story.filter((call) => call.includes(layout.blob(secret)))).toEqual([]);
  });

  test('removing from the bucket changes nothing locally, and wrong bytes there reach nobody', async () => {
    const { upstream, s3, one } = await pulledByOne();
    const [bad = large.manifest.digest, ...others] = layersOf(large);
    s3.objects.set(layout.blob(bad), randomBytes(s3.objects.get(layout.blob(bad))?.byteLength ?? 0));
    for (const digest of others) s3.objects.delete(layout.blob(digest));
    await pullAll(one, repository, '1');

    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    const answer = await pullBlob(two, repository, bad).catch((cause: unknown) => cause);
    expect(answer).toBeInstanceOf(Error); // Cut, never ended: the withheld tail was wrong.
    expect(digestOf((await pullBlob(two, repository, bad)).bytes)).toBe(bad);
    await pullAll(two, repository, '1');
    await uploaded(two);
    expect(digestOf(s3.objects.get(layout.blob(bad)) ?? Buffer.of())).toBe(bad);
  });

  test('a body from the bucket that breaks off goes on from the upstream at the same offset', async () => {
    const { upstream, s3 } = await pulledByOne();
    const [digest = large.manifest.digest] = layersOf(large).filter((layer) => layer !== layersOf(large)[0]);
    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    const arrived = gate();
    s3.script = ({ key }) =>
      key === layout.blob(digest) ? { kind: 'cut', afterBytes: 100_000, until: arrived.opened } : undefined;
    await get(two, `/v2/${repository}/manifests/${large.manifest.digest}`);
    const answer = await fetch(`${two.url}/v2/${repository}/blobs/${digest}`);
    let bytes = Buffer.of();
    for await (const chunk of answer.body ?? []) {
      bytes = Buffer.concat([bytes, chunk]);
      arrived.open();
    }
    expect(digestOf(bytes)).toBe(digest);
    const [asked] = upstream.seen('GET', /blobs/);
    expect(asked?.headers['range']).toMatch(/^bytes=\d{4,}-/);
  });

  test('redirects, records and logs hold no secret of the bucket', async () => {
    const { upstream, s3 } = await pulledByOne();
    s3.script = () => ({ kind: 'error', status: 403, code: 'AccessDenied' });
    const two = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    await pullAll(two, repository, '1');
    await two.quiet();
    expect(JSON.stringify(two.logLines)).not.toMatch(/fake-secret-key|Signature=|fake-access-key/);
    expect([...s3.objects.values()].join('')).not.toMatch(/fake-secret-key/);
  });
});

describe('redirects to the bucket', () => {
  const redirecting = { redirect: true };

  test('a blob that is in the bucket and not local is read there by the client; what is local is served from here', async () => {
    const { upstream, s3, one } = await pulledByOne();
    const [digest = large.manifest.digest] = layersOf(large);
    const two = await startApp(sharing(upstream, s3, {}, redirecting), { clock: new ManualClock(Date.now()) });
    await get(two, `/v2/${repository}/manifests/${large.manifest.digest}`);
    s3.requests.length = 0;
    const path = `/v2/${repository}/blobs/${digest}`;
    const answer = await fetch(`${two.url}${path}`, { redirect: 'manual' });
    expect(answer.status).toBe(307);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(s3.story).toEqual([`HeadObject ${layout.blob(digest)}`]);
    const url = answer.headers.get('location') ?? '';
    expect(url).toContain('X-Amz-Expires=900');
    expect(digestOf((await get({ url }, '')).bytes)).toBe(digest);
    expect(JSON.stringify(two.logLines)).not.toContain('X-Amz-Signature');

    await one.restart(sharing(upstream, s3, {}, redirecting));
    expect((await fetch(`${one.url}${path}`, { redirect: 'manual' })).status).toBe(200);
  });

  test('a blob that is not in the bucket, and one of a repository that is not linked to it, is not redirected', async () => {
    const { upstream, s3 } = await pulledByOne();
    const [digest = large.manifest.digest] = layersOf(large);
    const two = await startApp(sharing(upstream, s3, {}, redirecting), { clock: new ManualClock(Date.now()) });
    upstream.content.add('library/second', '1', large);
    const unlinked = await fetch(`${two.url}/v2/library/second/blobs/${digest}`, { redirect: 'manual' });
    expect(unlinked.status).toBe(200);
    await unlinked.arrayBuffer();
    s3.objects.clear();
    const three = await startApp(sharing(upstream, s3, {}, redirecting), { clock: new ManualClock(Date.now()) });
    const gone = await fetch(`${three.url}/v2/${repository}/blobs/${digest}`, { redirect: 'manual' });
    expect(gone.status).toBe(200);
    await gone.arrayBuffer();
  });

  test('a bucket that fails redirects nobody', async () => {
    const { upstream, s3 } = await pulledByOne();
    s3.script = () => ({ kind: 'error', status: 503, code: 'SlowDown' });
    const two = await startApp(sharing(upstream, s3, {}, redirecting), { clock: new ManualClock(Date.now()) });
    expect((await pullAll(two, repository, '1')).digest).toBe(large.manifest.digest);
  });

  test('a repository that clients may not read now is not redirected', async () => {
    const { upstream, s3 } = await pulledByOne();
    const [digest = large.manifest.digest] = layersOf(large);
    upstream.script({ path: /manifests|tags/ }, { status: 401 });
    const hidden = { 'docker.io': { url: upstream.url, visibility: 'public', credentials: [someAccount] } };
    const two = await startApp(sharing(upstream, s3, { upstreams: hidden }, redirecting), {
      clock: new ManualClock(Date.now()),
    });
    const answer = await fetch(`${two.url}/v2/${repository}/blobs/${digest}`, { redirect: 'manual' });
    expect([401, 404]).toContain(answer.status);
    expect(s3.story.filter((call) => call.startsWith('HeadObject'))).toEqual([]);
  });
});

describe('a bucket that fails', () => {
  test.each([
    { what: 'never answers', fault: { kind: 'silence' } },
    { what: 'throttles', fault: { kind: 'error', status: 503, code: 'SlowDown' } },
    { what: 'refuses the credentials', fault: { kind: 'error', status: 403, code: 'InvalidAccessKeyId' } },
    { what: 'resets every connection', fault: { kind: 'reset' } },
    { what: 'does not exist', fault: { kind: 'error', status: 404, code: 'NoSuchBucket' } },
  ] as const)('no pull fails while it $what, readyz tells it, and it comes back by itself', async ({ fault }) => {
    const [upstream, s3] = [await startFakeRegistry(), await startFakeS3()];
    upstream.content.add(repository, '1', large);
    s3.script = () => fault;
    const app = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    await pullAll(app, repository, '1');
    const readiness = await fetch(`${app.managementUrl}/readyz`);
    expect(readiness.status).toBe(200);
    const body: unknown = await readiness.json();
    expect(body).toMatchObject({ sharedStorage: { reads: expect.not.stringMatching(/^ok$/) } });
    const [told] = app.logLines.filter(({ msg, kind }) => msg === 'shared bucket' && kind === 'read');
    expect(told).toMatchObject({ err: { message: expect.stringContaining('GetObject') } });

    s3.script = () => undefined;
    app.clock.advance(60_000);
    upstream.content.add(repository, '2', image({ name: 'second', layerBytes: 50_000 }));
    await pullAll(app, repository, '2');
    expect((await (await fetch(`${app.managementUrl}/readyz`)).json()) as unknown).toMatchObject({
      sharedStorage: { reads: 'ok' },
    });
  });

  test('the start needs no bucket', async () => {
    const [upstream, s3] = [await startFakeRegistry(), await startFakeS3()];
    s3.script = () => ({ kind: 'silence' });
    await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    expect(s3.requests).toEqual([]);
  });

  test('an upload that a stop interrupts is finished by the next process', async () => {
    const [upstream, s3] = [await startFakeRegistry(), await startFakeS3()];
    upstream.content.add(repository, '1', large);
    s3.script = ({ operation }) => (operation === 'GetObject' ? undefined : { kind: 'silence' });
    const app = await startApp(sharing(upstream, s3), { clock: new ManualClock(Date.now()) });
    await pullAll(app, repository, '1');
    await app.quiet();
    await app.stop(50);
    expect(s3.objects.size).toBe(0);

    s3.script = () => undefined;
    await app.start(app.config);
    await uploaded(app);
    for (const digest of layersOf(large)) expect(s3.objects.has(layout.blob(digest))).toBe(true);
  });
});
