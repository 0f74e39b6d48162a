import { expect, test } from 'vitest';
import { ask, open, type WholeAnswer } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { type Content, image, randomBlob } from '../support/images.ts';
import { pullAll, pullBlob } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const holder = 'team/holder';
const other = 'team/other';
const blobs = /\/blobs\//;

/** An upstream where `holder` has the blob and `other` exists, and a mirror that has it from `holder`. */
async function withCachedBlob(
  blob: Content,
  files = new ScriptedFiles(),
): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry();
  upstream.content.addBlob(holder, blob);
  upstream.content.addBlob(other, randomBlob(10, 'something else'));
  const app = await startAppInMemory(mirrorOf(upstream), { files });
  await pullBlob(app, holder, blob.digest);
  await app.quiet();
  upstream.forgetRequests();
  return { upstream, app };
}

/** What a client can tell an answer by, without what names the blob and the moment. */
function seenOf({ status, headers, body }: WholeAnswer, { digest }: Pick<Content, 'digest'>): object {
  const { date: _, 'x-request-id': __, ...told } = headers;
  const text = status < 300 ? body.length : body.toString();
  return JSON.parse(JSON.stringify({ status, told, text }).replaceAll(digest, 'DIGEST'));
}

const cached = randomBlob(200_000, 'cached');
const absent = randomBlob(200_000, 'absent');

test.each([
  { method: 'GET', repository: other, what: 'of a repository that lacks it' },
  { method: 'HEAD', repository: other, what: 'of a repository that lacks it' },
  { method: 'GET', repository: 'team/unheard-of', what: 'of a repository that does not exist' },
  { method: 'HEAD', repository: 'team/unheard-of', what: 'of a repository that does not exist' },
])(
  '$method $what: a blob cached for another repository is answered like one that is not cached',
  async ({ method, repository }) => {
    const { app } = await withCachedBlob(cached);
    for (const _ of ['first', 'remembered']) {
      const answers = [];
      for (const blob of [cached, absent]) {
        const answer = await ask(app, `/v2/${repository}/blobs/${blob.digest}`, { method });
        expect(answer.status).toBe(404);
        answers.push(seenOf(answer, blob));
      }
      expect(answers[0]).toEqual(answers[1]);
    }
  },
);

test('with the upstream down, a blob cached for another repository is answered like one that is not cached', async () => {
  const { app, upstream } = await withCachedBlob(cached);
  await upstream.stop();
  const third = randomBlob(5, 'third');
  for (const _ of Array.from({ length: 4 })) await ask(app, `/v2/${other}/blobs/${third.digest}`); // It is known to be down.
  for (const method of ['GET', 'HEAD']) {
    const answers = [];
    for (const blob of [cached, absent]) {
      const answer = await ask(app, `/v2/${other}/blobs/${blob.digest}`, { method });
      expect(answer.status).toBe(503);
      answers.push(seenOf(answer, blob));
    }
    expect(answers[0]).toEqual(answers[1]);
  }
});

test.each([{}, { range: 'bytes=10-19' }])(
  'its size is not shown unless the upstream sends it (%o)',
  async (headers: Readonly<Record<string, string>>) => {
    const { app, upstream } = await withCachedBlob(cached);
    const fresh = randomBlob(200_000, 'fresh');
    for (const blob of [cached, fresh]) upstream.content.addBlob(other, blob);
    upstream.script({ path: blobs }, { contentLength: 'absent' });
    const answers = [];
    for (const blob of [cached, fresh]) {
      answers.push(seenOf(await ask(app, `/v2/${other}/blobs/${blob.digest}`, { headers }), blob));
    }
    expect(answers[0]).toEqual(answers[1]);
  },
);

test('a blob cached for another repository is confirmed by one request and then served; the answer does not show that it was cached', async () => {
  const { app, upstream } = await withCachedBlob(cached);
  const fresh = randomBlob(200_000, 'fresh');
  for (const blob of [cached, fresh]) upstream.content.addBlob(other, blob);
  app.clock.advance(60_000);
  const shared = await ask(app, `/v2/${other}/blobs/${cached.digest}`);
  expect(shared.body.equals(cached.bytes)).toBe(true);
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET']);
  const first = await ask(app, `/v2/${other}/blobs/${fresh.digest}`);
  expect(seenOf(shared, cached)).toEqual(seenOf(first, fresh));
  expect((await ask(app, `/v2/${other}/blobs/${cached.digest}`)).cache).toBe('hit');
  expect(upstream.requests.map(({ method }) => method)).toEqual(['GET', 'GET']);
});

test('a blob that the repository lacks causes the same upstream requests, cached for another repository or not', async () => {
  const { app, upstream } = await withCachedBlob(cached);
  const costs: string[][] = [];
  for (const { digest } of [cached, absent]) {
    upstream.forgetRequests();
    expect((await ask(app, `/v2/${other}/blobs/${digest}`)).status).toBe(404);
    costs.push(upstream.requests.map(({ method, headers }) => `${method} ${headers.range ?? ''}`));
  }
  expect(costs).toEqual([['GET '], ['GET ']]);
});

test('a HEAD through another repository does not show that the blob is cached', async () => {
  const { app, upstream } = await withCachedBlob(cached);
  const fresh = randomBlob(200_000, 'fresh');
  for (const blob of [cached, fresh]) upstream.content.addBlob(other, blob);
  app.clock.advance(60_000);
  const [shared, first] = [
    await ask(app, `/v2/${other}/blobs/${cached.digest}`, { method: 'HEAD' }),
    await ask(app, `/v2/${other}/blobs/${fresh.digest}`, { method: 'HEAD' }),
  ];
  expect(seenOf(shared, cached)).toEqual(seenOf(first, fresh));
  expect(upstream.requests.map(({ method }) => method)).toEqual(['HEAD', 'HEAD']);
});

test('a HEAD and then a GET through another repository do not show that the blob is cached', async () => {
  const { app, upstream } = await withCachedBlob(cached);
  const fresh = randomBlob(200_000, 'fresh');
  for (const blob of [cached, fresh]) upstream.content.addBlob(other, blob);
  app.clock.advance(60_000);
  for (const method of ['HEAD', 'HEAD', 'GET', 'GET']) {
    const answers = [];
    for (const blob of [cached, fresh]) {
      answers.push(seenOf(await ask(app, `/v2/${other}/blobs/${blob.digest}`, { method }), blob));
      await app.quiet();
    }
    expect(answers[0]).toEqual(answers[1]);
  }
});

/** What the store was asked about a blob. */
function storeAsked({ calls }: ScriptedFiles, { digest }: Content): readonly string[] {
  const hex = digest.slice('sha256:'.length);
  const isContent = (path: string) => path.includes('/blobs/sha256/') && path.endsWith(hex);
  return calls.filter(({ path }) => isContent(path)).map(({ operation }) => operation);
}

test.each([{ method: 'GET' }, { method: 'HEAD' }, { method: 'GET', headers: { range: 'bytes=10-19' } }])(
  'the time of an answer does not show that the blob is cached: the store is not read before the upstream has answered (%o)',
  async (question: { readonly method: string; readonly headers?: Readonly<Record<string, string>> }) => {
    const files = new ScriptedFiles();
    const { app, upstream } = await withCachedBlob(cached, files);
    for (const blob of [cached, absent]) {
      const answering = gate();
      upstream.script({ path: new RegExp(blob.digest), times: 1 }, { holdHeaders: answering });
      const path = `/v2/${other}/blobs/${blob.digest}`;
      files.calls.length = 0;
      const asked = ask(app, path, question);
      await Promise.race([
        upstream.arrived('HEAD', new RegExp(blob.digest)),
        upstream.arrived('GET', new RegExp(blob.digest)),
      ]);
      expect(storeAsked(files, blob)).toEqual([]);
      answering.open();
      expect((await asked).status).toBe(404);
      expect((await ask(app, path, question)).cache).toBe('hit; detail=negative');
      expect(storeAsked(files, blob)).toEqual([]);
    }
  },
);

test('while a 404 is remembered, no link of another repository is looked up for the blob or the manifest', async () => {
  const upstream = await startFakeRegistry();
  const held = image();
  upstream.content.add(holder, '1', held);
  upstream.content.addBlob(other, randomBlob(10, 'something else'));
  const files = new ScriptedFiles();
  const app = await startAppInMemory(mirrorOf(upstream), { files });
  await pullAll(app, holder, '1');
  await app.quiet();
  for (const method of ['GET', 'HEAD']) {
    const path = `/v2/${other}/manifests/${held.manifest.digest}`;
    expect((await ask(app, path, { method })).status).toBe(404);
    files.calls.length = 0;
    expect((await ask(app, path, { method })).cache).toBe('hit; detail=negative');
    expect(storeAsked(files, held.manifest)).toEqual([]);
  }
});

test('during a download a repository that has the blob joins it, and one that lacks it gets 404', async () => {
  const upstream = await startFakeRegistry();
  const third = 'team/third';
  const fresh = randomBlob(200_000, 'fresh');
  upstream.content.addBlob(holder, cached);
  for (const blob of [cached, fresh]) upstream.content.addBlob(other, blob);
  upstream.content.addBlob(third, fresh);
  const half = gate();
  upstream.script(
    { method: 'GET', path: new RegExp(`holder/blobs/${cached.digest}`) },
    {
      holdBody: { afterBytes: 100_000, until: half },
    },
  );
  const app = await startAppInMemory(mirrorOf(upstream));
  const path = (repository: string, { digest }: Content) => `/v2/${repository}/blobs/${digest}`;
  const first = await open(app, path(holder, cached));
  const refused = await ask(app, path(third, cached));
  expect(refused.status).toBe(404);
  expect(seenOf(refused, cached)).toEqual(seenOf(await ask(app, path(third, absent)), absent));
  const joining = await open(app, path(other, cached));
  half.open();
  const joined = {
    ...joining,
    status: joining.status,
    headers: joining.headers,
    cache: joining.cache,
    body: await joining.rest(),
  };
  expect(joined.body.equals(cached.bytes)).toBe(true);
  expect((await first.rest()).equals(cached.bytes)).toBe(true);
  expect(upstream.count('GET', new RegExp(`${holder}/blobs/${cached.digest}`))).toBe(1);
  expect(seenOf(joined, cached)).toEqual(seenOf(await ask(app, path(other, fresh)), fresh));
});

test('a layer that a second repository shares is served though the upstream says 404 to HEAD and has it for GET (Harbor)', async () => {
  const base = randomBlob(200_000, 'base');
  const { upstream, app } = await withCachedBlob(base);
  upstream.content.addBlob(other, base);
  upstream.script({ method: 'HEAD', path: blobs }, { status: 404 });
  for (const method of ['HEAD', 'GET']) {
    const { status, headers } = await ask(app, `/v2/${other}/blobs/${base.digest}`, { method });
    expect({ method, status, length: headers['content-length'] }).toEqual({ method, status: 200, length: '200000' });
  }
  expect(upstream.seen('GET', blobs)[0]?.headers.range).toBe('bytes=0-0');
});
