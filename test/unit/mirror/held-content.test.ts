import { expect, test } from 'vitest';
import { HeldContent } from '../../../src/mirror/held-content.ts';
import type { AccessRules } from '../../../src/mirror/access/access.ts';
import { createAccess } from '../../../src/mirror/access/access.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { UpstreamError } from '../../../src/oci/errors.ts';
import { ociManifest } from '../../../src/oci/media-types.ts';
import { type HostName, parseHostName, parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { day, now, repositoryId, visibilityOf } from '../../support/scripted-visibility.ts';
import { upstreamNamed } from '../../support/upstream-named.ts';

const bytes = Buffer.from('manifest');
const digest = digestOf(bytes);
const tag = parseTag('latest');
const atOnce = { signal: new AbortController().signal, atOnce: true };
const waits = { ...atOnce, atOnce: false };
const checked: AccessRules = { allow: ['**'], deny: [], visibility: { kind: 'public', publicRepositories: [] } };

function hostNamed(text: string): HostName {
  const host = parseHostName(text);
  if (host === undefined) throw new Error(`${text} is no host`);
  return host;
}

const app = { upstream: hostNamed('docker.io'), repository: repositoryId.repository };

/** A replica that has everything of every repository, under these rules. It counts what was looked for. */
function holding(rules: AccessRules, { running }: { running?: Promise<never> } = {}) {
  const scripted = visibilityOf();
  const looked: string[] = [];
  const manifest = { digest, bytes, mediaType: ociManifest, firstServedAtMs: 0 };
  const look = async <Value>(what: string, value: Value): Promise<Value> => {
    looked.push(what);
    return value;
  };
  const held = new HeldContent({
    upstreams: { find: (name) => (name === 'docker.io' ? upstreamNamed('docker.io') : undefined) },
    access: createAccess({ rulesOf: new Map([['docker.io', rules]]), visibility: scripted.visibility }),
    visibility: scripted.visibility,
    blobs: { open: () => look('blob', undefined) },
    manifests: {
      cached: () => look('manifest', running ? undefined : manifest),
      joinFetch: () => running ?? look('fetch', undefined),
    },
    tagRecords: { get: () => look('tag', { digest, mediaType: ociManifest, size: 8, confirmedAtMs: now }) },
  });
  const all = async () => {
    await held.blob(app, digest, waits);
    return [await held.manifest(app, digest, waits), await held.tag(app, tag)];
  };
  return { ...scripted, held, looked, all };
}

test('of a repository that was never confirmed to be public siblings get nothing, and nothing is looked for', async () => {
  const { all, held, looked, upstream } = holding(checked);
  expect(await all()).toEqual([undefined, undefined]);
  expect(await held.visibility(app)).toBeUndefined();
  expect(looked).toEqual([]);
  expect(upstream.asked).toEqual([]);
});

test('of a hidden repository siblings get its verdict, and nothing is looked for', async () => {
  const { all, held, looked, upstream, check, clock } = holding(checked);
  upstream.says = 'hidden';
  await expect(check()).rejects.toThrow('no such repository');
  upstream.asked.length = 0;
  expect(await all()).toEqual([undefined, undefined]);
  expect(await held.visibility(app)).toEqual({ verdict: 'hidden', askedAtMs: clock.now() });
  clock.advance(40 * day);
  expect(await all()).toEqual([undefined, undefined]);
  expect(looked).toEqual([]);
  expect(upstream.asked).toEqual([]);
});

test('of a public repository siblings get what is here, also long after the verdict, and the upstream is not asked', async () => {
  const { all, held, looked, upstream, check, clock } = holding(checked);
  await check();
  upstream.asked.length = 0;
  const askedAtMs = clock.now();
  clock.advance(40 * day);
  expect(await all()).toMatchObject([{ digest }, { digest }]);
  expect(await held.visibility(app)).toEqual({ verdict: 'public', askedAtMs });
  expect(looked).toEqual(['blob', 'manifest', 'tag']);
  expect(upstream.asked).toEqual([]);
});

test('a repository that every client may read needs no verdict', async () => {
  const { all } = holding({ ...checked, visibility: { kind: 'open' } });
  expect(await all()).toMatchObject([{ digest }, { digest }]);
  const { all: matching } = holding({ ...checked, visibility: { kind: 'public', publicRepositories: ['library/*'] } });
  expect(await matching()).toMatchObject([{ digest }, { digest }]);
});

test.each([
  { what: 'not allowed', rules: { allow: ['team/**'] } },
  { what: 'denied', rules: { deny: ['library/**'] } },
])('of a repository that is $what siblings get nothing, not even its verdict', async ({ rules }) => {
  const { all, held, looked, check } = holding({ ...checked, ...rules });
  await check();
  expect(await all()).toEqual([undefined, undefined]);
  expect(await held.visibility(app)).toBeUndefined();
  expect(looked).toEqual([]);
});

test('of an upstream that is not configured siblings get nothing', async () => {
  const { held, looked } = holding({ ...checked, visibility: { kind: 'open' } });
  const elsewhere = { upstream: hostNamed('quay.io'), repository: parseRepository('app') };
  expect(await held.manifest(elsewhere, digest, waits)).toBeUndefined();
  expect(await held.tag(elsewhere, tag)).toBeUndefined();
  expect(await held.visibility(elsewhere)).toBeUndefined();
  expect(looked).toEqual([]);
});

test('a fetch that fails is not here, and who is answered at once does not wait for it', async () => {
  const running = Promise.reject(new UpstreamError('connect', 'refused'));
  running.catch(() => {});
  const { held } = holding({ ...checked, visibility: { kind: 'open' } }, { running });
  expect(await held.manifest(app, digest, waits)).toBeUndefined();
  const never = holding({ ...checked, visibility: { kind: 'open' } }, { running: new Promise<never>(() => {}) });
  expect(await never.held.manifest(app, digest, atOnce)).toBeUndefined();
});
