import { beforeAll, describe, expect, test } from 'vitest';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import { ociIndex } from '../../src/oci/media-types.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import {
  artifact,
  type Content,
  content,
  descriptorOf,
  emptyBlobArtifact,
  image,
  multiPlatformImage,
  randomBlob,
  referrerOf,
} from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';

/**
 * The workflow categories Pull and Content Discovery of the distribution-spec's conformance suite, for what a client cannot see
 * from here: whether the content came from the upstream or was cached already. So everything is asked twice.
 */

const repository = 'conformance/app';
const missing = digestOf(Buffer.from('this was never pushed'));

const plain = image({ layers: 2 });
const signature = referrerOf(plain.manifest);
const bill = referrerOf(plain.manifest, { artifactType: 'application/vnd.example.bill', text: 'of materials' });
const orphan = referrerOf(content('application/vnd.example.lost', Buffer.from('never pushed')));
const bySha512 = content(plain.manifest.mediaType, plain.manifest.bytes, 'sha512');
const images = {
  image: plain,
  index: multiPlatformImage(),
  docker: image({ format: 'docker' }),
  artifact: artifact(),
  empty: emptyBlobArtifact(),
  sha512: image({ algorithm: 'sha512' }),
};

const owner = thisSuite();
let upstream: FakeRegistry;
let mirror: RunningMirror;

beforeAll(async () => {
  upstream = await startFakeRegistry({ owner });
  for (const [tag, one] of Object.entries(images)) upstream.content.add(repository, tag, one);
  upstream.content.add(repository, 'image', plain, [signature, bill, orphan]);
  upstream.content.addManifest(repository, bySha512);
  mirror = await startMirror(mirrorOf(upstream), { owner });
});

async function ask(path: string, method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'PATCH' = 'GET') {
  const answer = await fetch(`${mirror.url}/v2/${path}`, { method });
  const body = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, header: (name: string) => answer.headers.get(name), body };
}

type Answer = Awaited<ReturnType<typeof ask>>;

/** distribution-spec v1.1.1, "Error Codes": a JSON body with a code of the spec. */
function expectError(answer: Answer, status: number, code: string): void {
  expect(answer.status).toBe(status);
  expect(answer.header('content-type')).toMatch(/^application\/json/);
  expect(JSON.parse(answer.body.toString())).toMatchObject({ errors: [{ code }] });
}

function expectContent(answer: Answer, { bytes, digest }: Content, method: 'GET' | 'HEAD'): void {
  expect(answer.status).toBe(200);
  expect(answer.header('content-length')).toBe(String(bytes.length));
  expect(answer.header('docker-content-digest')).toBe(digest);
  expect(answer.body).toEqual(method === 'HEAD' ? Buffer.alloc(0) : bytes);
}

const methods = ['HEAD', 'GET'] as const;
const times = ['at first', 'once more'] as const;
const rounds = times.flatMap((time) => methods.map((method) => ({ time, method })));

describe('pull', () => {
  test('the base endpoint answers', async () => {
    expect((await ask('')).status).toBe(200);
  });

  describe.each(rounds)('$time, $method', ({ method }) => {
    test.each(Object.entries(images))('returns the manifest of the tag %s', async (tag, { manifest }) => {
      const answer = await ask(`${repository}/manifests/${tag}`, method);
      expectContent(answer, manifest, method);
      expect(answer.header('content-type')).toBe(manifest.mediaType);
    });

    test.each(Object.entries(images))(
      'returns the manifests of %s by their digests',
      async (_, { manifest, children }) => {
        for (const one of [manifest, ...children]) {
          const answer = await ask(`${repository}/manifests/${one.digest}`, method);
          expectContent(answer, one, method);
          expect(answer.header('content-type')).toBe(one.mediaType);
        }
      },
    );

    test('returns a manifest by its sha512', async () => {
      expectContent(await ask(`${repository}/manifests/${bySha512.digest}`, method), bySha512, method);
    });

    test.each(Object.entries(images))('returns the blobs of %s', async (_, { blobs }) => {
      for (const blob of blobs) expectContent(await ask(`${repository}/blobs/${blob.digest}`, method), blob, method);
    });

    test('answers 404 for missing content', async () => {
      const paths = [`blobs/${missing}`, `manifests/${missing}`, 'manifests/nosuchtag', 'manifests/.no-tag-at-all'];
      for (const path of paths) expect((await ask(`${repository}/${path}`, method)).status).toBe(404);
    });
  });

  test('missing content has an error code of the spec', async () => {
    expectError(await ask(`${repository}/blobs/${missing}`), 404, 'BLOB_UNKNOWN');
    expectError(await ask(`${repository}/manifests/${missing}`), 404, 'MANIFEST_UNKNOWN');
    expectError(await ask(`${repository}/manifests/nosuchtag`), 404, 'MANIFEST_UNKNOWN');
    expectError(await ask(`${repository}/manifests/.no-tag-at-all`), 404, 'MANIFEST_UNKNOWN');
  });

  test('an invalid digest is rejected', async () => {
    expectError(await ask(`${repository}/manifests/sha256:totallywrong`), 400, 'DIGEST_INVALID');
    expectError(await ask(`${repository}/blobs/sha256:baddigeststring`), 400, 'DIGEST_INVALID');
  });

  test.each([
    ['POST', 'blobs/uploads/'],
    ['PUT', 'manifests/1'],
    ['PUT', `blobs/uploads/1?digest=${missing}`],
    ['PATCH', 'blobs/uploads/1'],
    ['DELETE', `manifests/${plain.manifest.digest}`],
    ['DELETE', `blobs/${missing}`],
  ] as const)('%s %s is not supported by a mirror', async (method, path) => {
    expectError(await ask(`${repository}/${path}`, method), 405, 'UNSUPPORTED');
  });
});

describe('content discovery: tags', () => {
  const tags = Object.keys(images).toSorted();
  const list = async (query: string) => {
    const answer = await ask(`${repository}/tags/list${query}`);
    expect(answer.status).toBe(200);
    return { link: answer.header('link'), listed: JSON.parse(answer.body.toString()) };
  };

  test('all tags are listed in lexical order', async () => {
    expect((await list('')).listed).toEqual({ name: repository, tags });
  });

  test('n limits the list, which has a Link to the rest', async () => {
    const { link, listed } = await list('?n=3');
    expect(listed).toEqual({ name: repository, tags: tags.slice(0, 3) });
    const [, next = ''] = /^<(.+)>; ?rel="?next"?$/.exec(link ?? '') ?? [];
    const rest = await fetch(new URL(next, mirror.url));
    expect(await rest.json()).toEqual({ name: repository, tags: tags.slice(3) });
    expect(rest.headers.get('link')).toBeNull();
  });

  test('the list begins after last', async () => {
    expect((await list(`?last=${tags[1]}`)).listed).toEqual({ name: repository, tags: tags.slice(2) });
    expect((await list(`?n=1&last=${tags[1]}`)).listed).toEqual({ name: repository, tags: tags.slice(2, 3) });
  });

  test('n=0 lists no tags', async () => {
    expect(await list('?n=0')).toEqual({ link: null, listed: { name: repository, tags: [] } });
  });

  test('a missing repository is a 404', async () => {
    expectError(await ask('conformance/nothing/tags/list'), 404, 'NAME_UNKNOWN');
  });
});

describe('content discovery: referrers', () => {
  const referrers = async (subject: Digest, query = '') => {
    const answer = await ask(`${repository}/referrers/${subject}${query}`);
    expect(answer.status).toBe(200);
    expect(answer.header('content-type')).toBe(ociIndex);
    const index = JSON.parse(answer.body.toString());
    expect(index).toMatchObject({ schemaVersion: 2, mediaType: ociIndex });
    return { filters: answer.header('oci-filters-applied'), manifests: index.manifests };
  };
  const listed = (one: typeof signature) => ({ ...descriptorOf(one.manifest), artifactType: one.artifactType });

  test('a manifest without referrers has an empty list', async () => {
    expect(await referrers(missing)).toEqual({ filters: null, manifests: [] });
    expect(await referrers(randomBlob(1).digest)).toEqual({ filters: null, manifests: [] });
  });

  test('all referrers of a manifest are listed', async () => {
    expect(await referrers(plain.manifest.digest)).toEqual({
      filters: null,
      manifests: [listed(signature), listed(bill)],
    });
  });

  test('artifactType filters the list, and the answer says that it is filtered', async () => {
    const query = `?artifactType=${encodeURIComponent(bill.artifactType)}`;
    expect(await referrers(plain.manifest.digest, query)).toEqual({
      filters: 'artifactType',
      manifests: [listed(bill)],
    });
  });

  test('referrers of a missing manifest are listed', async () => {
    expect(await referrers(orphan.subject)).toEqual({ filters: null, manifests: [listed(orphan)] });
  });

  test('an invalid digest is rejected', async () => {
    expectError(await ask(`${repository}/referrers/sha256:totallywrong`), 400, 'DIGEST_INVALID');
  });

  test('an upstream without the referrers API is asked for the fallback tag', async () => {
    const old = await startFakeRegistry({ referrersApi: false });
    old.content.add(repository, '1', plain, [signature, bill]);
    const before = await startMirror(mirrorOf(old));
    const path = `/v2/${repository}/referrers/${plain.manifest.digest}?artifactType=${encodeURIComponent(bill.artifactType)}`;
    const answer = await fetch(before.url + path);
    expect(answer.headers.get('oci-filters-applied')).toBe('artifactType');
    expect(await answer.json()).toMatchObject({ manifests: [listed(bill)] });
  });
});
