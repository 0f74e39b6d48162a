import { randomBytes } from 'node:crypto';
import { finished } from 'node:stream/promises';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { UpstreamError } from '../../../../src/oci/errors.ts';
import { type Digest, digestOf } from '../../../../src/oci/digest.ts';
import { parseTag } from '../../../../src/oci/reference.ts';
import { withLinks } from '../../../../src/storage/s3/bucket-records.ts';
import { type FakeS3, startFakeS3 } from '../../../support/fake-s3.ts';
import { alpine, type BucketParts, bucketParts, other, waiting } from './parts.ts';

const bytes = randomBytes(300_000);
const digest = digestOf(bytes);
const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [] }));
const manifestDigest = digestOf(manifest);
const mediaType = 'application/vnd.oci.image.manifest.v1+json';

function putBlob({ objects }: FakeS3, { layout }: BucketParts, content: Buffer = bytes): Digest {
  objects.set(layout.blob(digestOf(content)), content);
  return digestOf(content);
}

function putJson({ objects }: FakeS3, key: string, value: object): void {
  objects.set(key, Buffer.from(JSON.stringify(value)));
}

function link(s3: FakeS3, { layout }: BucketParts): void {
  putJson(s3, layout.record({ kind: 'blob', repositoryId: alpine, digest }), {
    size: bytes.byteLength,
    firstServedAtMs: 1,
  });
}

async function opened(parts: BucketParts, range?: { readonly start: number; readonly end?: number }) {
  return parts.cache.openBlob(alpine, digest, { ...waiting, ...(range && { range }) });
}

async function contentOf(parts: BucketParts, range?: { readonly start: number; readonly end?: number }) {
  const blob = await opened(parts, range);
  return blob && buffer(blob.body);
}

async function holding(): Promise<{ readonly s3: FakeS3; readonly parts: BucketParts }> {
  const s3 = await startFakeS3();
  const parts = bucketParts(s3.settings);
  putBlob(s3, parts);
  link(s3, parts);
  return { s3, parts };
}

describe('a bucket as a source of blobs', () => {
  test('serves a blob to the repository that is linked to it, whole and in ranges', async () => {
    const { parts } = await holding();

    expect(await contentOf(parts)).toEqual(bytes);
    const part = await opened(parts, { start: 1_000, end: 1_999 });
    expect(part).toMatchObject({ size: bytes.byteLength, offset: 1_000 });
    expect(part && (await buffer(part.body))).toEqual(bytes.subarray(1_000, 2_000));
    expect(await contentOf(parts, { start: 299_999 })).toEqual(bytes.subarray(-1));
  });

  test('costs one call when the link is known', async () => {
    const { s3, parts } = await holding();
    await contentOf(parts);
    s3.requests.length = 0;

    await contentOf(parts);
    expect(s3.story).toEqual([`GetObject ${parts.layout.blob(digest)}`]);
  });

  test('costs one call on a replica that read the manifest from the bucket and never saw the blob', async () => {
    const s3 = await startFakeS3();
    const parts = bucketParts(s3.settings);
    putBlob(s3, parts);
    putBlob(s3, parts, manifest);
    const record = { mediaType, size: manifest.byteLength, firstServedAtMs: 1 };
    putJson(
      s3,
      parts.layout.record({ kind: 'manifest', repositoryId: alpine, digest: manifestDigest }),
      withLinks(record, [digest]),
    );
    expect(await parts.cache.manifest(alpine, manifestDigest, waiting)).toMatchObject({ mediaType, bytes: manifest });
    s3.requests.length = 0;

    expect(await contentOf(parts)).toEqual(bytes);
    expect(s3.story).toEqual([`GetObject ${parts.layout.blob(digest)}`]);
  });

  test('never tells a repository without a link whether another one holds the blob', async () => {
    const { s3, parts } = await holding();
    const unlinked = bucketParts(s3.settings);
    s3.requests.length = 0;

    expect(await unlinked.cache.openBlob(other, digest, waiting)).toBeUndefined();
    s3.objects.delete(parts.layout.blob(digest));
    expect(await unlinked.cache.openBlob(other, digest, waiting)).toBeUndefined();
    // The same single call in both cases: the object itself is never looked at.
    const asked = `GetObject ${parts.layout.record({ kind: 'blob', repositoryId: other, digest })}`;
    expect(s3.story).toEqual([asked, asked]);
  });

  test('says that a blob is not there when only its link is left', async () => {
    const { s3, parts } = await holding();
    s3.objects.delete(parts.layout.blob(digest));

    expect(await opened(parts)).toBeUndefined();
    expect(parts.links.isKnown(alpine, digest)).toBe(false);
    expect(parts.calls.state('read')).toBe('closed');
  });

  test('does not offer a blob again for a while whose bytes were wrong', async () => {
    const { parts } = await holding();
    parts.cache.failedVerification(digest);
    expect(await opened(parts)).toBeUndefined();
    parts.clock.advance(11 * 60_000);
    expect(await contentOf(parts)).toEqual(bytes);
  });
});

describe('a bucket that fails', () => {
  test('a body that is cut fails, and is never ended as if it were whole', async () => {
    const { s3, parts } = await holding();
    s3.script = ({ key }) => (key.startsWith('v1/blobs') ? { kind: 'cut', afterBytes: 100_000 } : undefined);
    await expect(contentOf(parts)).rejects.toThrow(UpstreamError);
  });

  test('a body that stalls fails after the idle time', async () => {
    const { s3, parts } = await holding();
    s3.script = ({ key }) => (key.startsWith('v1/blobs') ? { kind: 'stall', afterBytes: 100_000 } : undefined);
    await expect(contentOf(parts)).rejects.toMatchObject({ reason: 'timeout' });
    expect(parts.calls.state('read')).toBe('timeout');
  });

  test('a body that trickles is left, with what has arrived, for the next source', async () => {
    const { s3, parts } = await holding();
    s3.script = ({ key }) => (key.startsWith('v1/blobs') ? { kind: 'trickle', bytes: 100, everyMs: 10 } : undefined);
    const blob = await opened(parts);
    let arrived = 0;
    blob?.body.on('data', (chunk: Buffer) => (arrived += chunk.byteLength));
    await expect(blob && finished(blob.body)).rejects.toMatchObject({ reason: 'timeout' });
    expect(arrived).toBeGreaterThan(0);
    expect(parts.calls.state('read')).toBe('timeout');
  });

  test('a slow reader is not the fault of the bucket', async () => {
    const { s3 } = await holding();
    const parts = bucketParts(s3.settings, { idleMs: 500 });
    const large = randomBytes(4_000_000);
    s3.objects.set('large', large);
    const blob = await parts.objects.open('large', waiting);
    await sleep(1_200);
    expect(blob && (await buffer(blob.body)).equals(large)).toBe(true);
  });

  test('a body that is destroyed ends its request', async () => {
    const { s3, parts } = await holding();
    s3.objects.set('large', randomBytes(20_000_000));
    const blob = await parts.objects.open('large', waiting);
    expect(blob?.body.destroy().destroyed).toBe(true);
    expect(await contentOf(parts)).toEqual(bytes);
    expect(parts.calls.state('read')).toBe('closed');
  });

  test('a bucket that never answers costs one timeout in each window', async () => {
    const { s3 } = await holding();
    const parts = bucketParts(s3.settings, { readWithinMs: 1_000 });
    s3.script = () => ({ kind: 'silence' });
    await expect(opened(parts)).rejects.toMatchObject({ reason: 'timeout' });
    const asked = s3.requests.length;
    for (let pull = 0; pull < 20; pull += 1) await expect(opened(parts)).rejects.toThrow(UpstreamError);
    expect(s3.requests.length).toBe(asked);
    s3.script = () => undefined;
    parts.clock.advance(5_000);
    expect(await contentOf(parts)).toEqual(bytes);
    expect(parts.observer.states).toEqual(['timeout', 'closed']);
  });

  test('only one request tries a bucket again when its window is over, and the next window is longer', async () => {
    const { s3 } = await holding();
    const parts = bucketParts(s3.settings, { readWithinMs: 1_000 });
    s3.script = () => ({ kind: 'silence' });
    await opened(parts).catch(() => {});
    parts.clock.advance(5_000);
    s3.requests.length = 0;
    await Promise.allSettled(Array.from({ length: 10 }, () => opened(parts)));
    expect(s3.requests).toHaveLength(1);
    expect(parts.calls.waitMs('read')).toBe(10_000);
  });

  test('a client that leaves says nothing of the bucket', async () => {
    const { s3, parts } = await holding();
    const leaving = new AbortController();
    s3.script = () => {
      leaving.abort(new Error('left'));
      return { kind: 'silence' };
    };
    await expect(parts.cache.openBlob(alpine, digest, { signal: leaving.signal })).rejects.toThrow('left');
    expect(parts.calls.state('read')).toBe('closed');
  });

  test.each([
    { status: 503, code: 'SlowDown' },
    { status: 429, code: 'TooManyRequests' },
    { status: 500, code: 'InternalError' },
  ])('$code is retried with a pause, and forgotten when it passes', async ({ status, code }) => {
    const { s3, parts } = await holding();
    let failures = 0;
    s3.script = () => ((failures += 1) <= 2 ? { kind: 'error', status, code } : undefined);
    expect(await contentOf(parts)).toEqual(bytes);
    expect(parts.calls.state('read')).toBe('closed');
  });

  test('a bucket that goes on throttling is not asked for a while', async () => {
    const { s3, parts } = await holding();
    s3.script = () => ({ kind: 'error', status: 503, code: 'SlowDown' });
    await expect(opened(parts)).rejects.toMatchObject({ reason: 'overloaded' });
    expect(s3.requests).toHaveLength(3);
    await expect(opened(parts)).rejects.toThrow('is not asked');
    expect(s3.requests).toHaveLength(3);
  });

  test.each([
    { status: 403, code: 'AccessDenied' },
    { status: 404, code: 'NoSuchBucket' },
    { status: 403, code: 'InvalidAccessKeyId' },
  ])('$code is a refusal of the bucket, not a missing object', async ({ status, code }) => {
    const { s3, parts } = await holding();
    s3.script = () => ({ kind: 'error', status, code });
    await expect(opened(parts)).rejects.toMatchObject({ reason: 'refused' });
    expect(parts.observer.states).toEqual(['refused']);
  });

  test('no secret and no signature is in an error', async () => {
    const { s3, parts } = await holding();
    s3.script = () => ({ kind: 'error', status: 403, code: 'AccessDenied' });
    const error: unknown = await opened(parts).catch((cause: unknown) => cause);
    const shown = inspect(error, { depth: 10, showHidden: true });
    expect(shown).not.toMatch(/Signature|fake-secret-key|fake-access-key/i);
  });

  test('a connection that is reset is tried again', async () => {
    const { s3, parts } = await holding();
    let resets = 0;
    s3.script = () => ((resets += 1) === 1 ? { kind: 'reset' } : undefined);
    expect(await contentOf(parts)).toEqual(bytes);
  });
});

describe('manifests, tags and visibility in a bucket', () => {
  test('a manifest whose bytes are wrong is not there', async () => {
    const s3 = await startFakeS3();
    const parts = bucketParts(s3.settings);
    s3.objects.set(parts.layout.blob(manifestDigest), Buffer.from('{"schemaVersion":3}'));
    const record = { mediaType, size: manifest.byteLength, firstServedAtMs: 1 };
    putJson(s3, parts.layout.record({ kind: 'manifest', repositoryId: alpine, digest: manifestDigest }), record);
    expect(await parts.cache.manifest(alpine, manifestDigest, waiting)).toBeUndefined();
    expect(parts.cache.isDistrusted(manifestDigest)).toBe(true);
  });

  test('a manifest that another repository stored is not there', async () => {
    const s3 = await startFakeS3();
    const parts = bucketParts(s3.settings);
    putBlob(s3, parts, manifest);
    expect(await parts.cache.manifest(other, manifestDigest, waiting)).toBeUndefined();
    expect(s3.requests).toHaveLength(1);
  });

  test('a tag and a verdict are never newer than now', async () => {
    const s3 = await startFakeS3();
    const parts = bucketParts(s3.settings);
    const tag = parseTag('3.20');
    const later = parts.clock.now() + 3_600_000;
    putJson(s3, parts.layout.record({ kind: 'tag', repositoryId: alpine, tag }), {
      tag,
      digest,
      mediaType,
      size: 5,
      confirmedAtMs: later,
    });
    putJson(s3, parts.layout.record({ kind: 'visibility', repositoryId: alpine }), {
      verdict: 'public',
      askedAtMs: later,
    });
    expect(await parts.cache.tag(alpine, tag, waiting)).toMatchObject({ digest, confirmedAtMs: parts.clock.now() });
    expect(await parts.cache.visibility(alpine, waiting)).toEqual({ verdict: 'public', askedAtMs: parts.clock.now() });
  });

  test('a document that is not JSON, or too large, is none', async () => {
    const s3 = await startFakeS3();
    const parts = bucketParts(s3.settings);
    const key = parts.layout.record({ kind: 'visibility', repositoryId: alpine });
    s3.objects.set(key, Buffer.from('{"verdict'));
    expect(await parts.cache.visibility(alpine, waiting)).toBeUndefined();
    s3.objects.set(key, Buffer.alloc(1_000_000, ' '));
    await expect(parts.cache.visibility(alpine, waiting)).rejects.toThrow(UpstreamError);
    expect(parts.calls.state('read')).toBe('closed');
  });
});
