import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { type Gate, gate } from '../support/gate.ts';
import { type Image, image, multiPlatformImage, randomBlob, referrerOf } from '../support/images.ts';
import { thisSuite } from '../support/owner.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { afterTurns, askAndLeave, type Leaving } from './leaving-client.ts';
import { expectAlways } from './runs.ts';

const owner = thisSuite();
const account = { username: 'mirror', password: 'secret' };
const maxRequests = 40;
const maxConcurrent = 4;
/** How many of them one upstream may have. */
const slots = 3;
const minute = 60_000;
const tagged = 'library/app';
const images = [
  ...Array.from({ length: 6 }, (_, index) => image({ name: `image ${index}`, layerBytes: 50_000 * (index + 1) })),
  multiPlatformImage(),
];
const lone = Array.from({ length: 4 }, (_, index) => randomBlob(300_000, `lone ${index}`));
/** So small that blobs are evicted, and some not stored at all. */
const maxSize = '1MiB';

let upstreams: readonly FakeRegistry[] = [];
let app: RunningApp;

beforeAll(async () => {
  const open = await startFakeRegistry({ owner });
  const closed = await startFakeRegistry({
    owner,
    auth: { kind: 'bearer', ...account, privateRepositories: ['team/secret'] },
  });
  upstreams = [open, closed];
  for (const { content } of upstreams) {
    for (const held of images) content.add(tagged, '1', held, [referrerOf(held.manifest)]);
    for (const blob of lone) content.addBlob(tagged, blob);
  }
  const config = {
    defaultUpstream: 'docker.io',
    upstreams: {
      'docker.io': { url: open.url },
      'ghcr.io': { url: closed.url, credentials: [{ kind: 'basic', ...account }], visibility: 'public' },
    },
    storage: { maxSize },
    freshness: { tag: '0s', missing: '0s' },
    clients: { maxRequests },
    download: { maxConcurrent, attemptsWithoutProgress: 2 },
  };
  app = await startAppInMemory(config, { owner });
});

/** In a path: what has not been requested yet. */
const freshManifest = '<fresh manifest>';
const freshBlob = '<fresh blob>';
const digests = images.flatMap(({ manifest, children }) => [manifest, ...children].map(({ digest }) => digest));
const blobs = [...images.flatMap((held) => held.blobs), ...lone].map(({ digest }) => digest);

interface Question {
  readonly method: 'GET' | 'HEAD';
  readonly path: string;
  readonly headers: readonly string[];
}

const registry = fc.constantFrom('/v2/', '/ghcr.io/v2/');
const within = (paths: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(registry, paths).map(([base, path]) => `${base}${tagged}/${path}`);
const manifestPath = within(
  fc.constantFrom(`manifests/${freshManifest}`, ...digests.map((digest) => `manifests/${digest}`)),
);
const tagPath = within(fc.constantFrom('manifests/1', 'manifests/unknown'));
const blobPath = within(
  fc.oneof(fc.constant(`blobs/${freshBlob}`), fc.constantFrom(...blobs.map((digest) => `blobs/${digest}`))),
);
const listPath = within(fc.constantFrom('tags/list', ...digests.slice(0, 2).map((digest) => `referrers/${digest}`)));
const questionOf = (
  method: 'GET' | 'HEAD',
  path: fc.Arbitrary<string>,
  headers: readonly string[] = [],
): fc.Arbitrary<Question> => path.map((one) => ({ method, path: one, headers }));

const question = fc.oneof(
  { weight: 6, arbitrary: questionOf('GET', tagPath) },
  { weight: 2, arbitrary: questionOf('HEAD', tagPath) },
  { weight: 2, arbitrary: questionOf('GET', manifestPath) },
  { weight: 1, arbitrary: questionOf('HEAD', manifestPath) },
  { weight: 5, arbitrary: questionOf('GET', blobPath) },
  { weight: 1, arbitrary: questionOf('HEAD', blobPath) },
  { weight: 2, arbitrary: questionOf('GET', blobPath, ['Range: bytes=1000-30000']) },
  { weight: 2, arbitrary: questionOf('GET', listPath) },
  { weight: 1, arbitrary: questionOf('GET', fc.constantFrom('/v2/', '/v2/_catalog', '/v2/_catalog?n=1')) },
);

const leaving: fc.Arbitrary<Leaving> = fc.oneof(
  { weight: 5, arbitrary: fc.nat(30).map((count) => ({ when: 'turns' as const, count })) },
  { weight: 2, arbitrary: fc.nat(150).map((count) => ({ when: 'turns' as const, count })) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 200_000 }).map((count) => ({ when: 'bytes' as const, count })) },
  { weight: 1, arbitrary: fc.constant({ when: 'never' as const }) },
);

/** What an upstream does wrong; `late` says after how many turns it answers, or continues in the middle. */
interface Wrong {
  readonly path: RegExp;
  readonly times: number;
  readonly fault: (until: Gate) => Fault;
}

const late = (until: Gate): Fault => ({ holdHeaders: until });
const stalling = (until: Gate): Fault => ({ holdBody: { afterBytes: 65_536, until } });
const faults: readonly ((until: Gate) => Fault)[] = [
  late,
  late,
  stalling,
  () => ({ status: 500 }),
  () => ({ status: 404 }),
  () => ({ status: 429 }),
  () => ({ dropConnection: true }),
  () => ({ cutAfterBytes: 0 }),
  () => ({ cutAfterBytes: 65_536 }),
  () => ({ withoutHeaders: ['docker-content-digest'] }),
  () => ({ contentLength: 'absent' }),
  () => ({ body: (honest) => honest.subarray(0, honest.length / 2) }),
];
const wrong: fc.Arbitrary<Wrong> = fc.record({
  path: fc.constantFrom(/./, /manifests/, /blobs/, /token/, /tags|referrers/),
  times: fc.integer({ min: 1, max: 6 }),
  fault: fc.constantFrom(...faults),
});

const scene = fc.record({
  clients: fc.array(fc.tuple(question, leaving), { minLength: 1, maxLength: 4 }),
  passedMs: fc.constantFrom(0, minute, 60 * minute),
  /** Where the tag moves to before anybody asks. */
  movesTo: fc.oneof(
    { weight: 3, arbitrary: fc.constant('fresh' as const) },
    { weight: 1, arbitrary: fc.constantFrom('nowhere' as const, ...images) },
  ),
  wrongs: fc.array(wrong, { maxLength: 2 }),
  lateTurns: fc.nat(80),
});

type Scene = typeof scene extends fc.Arbitrary<infer One> ? One : never;

let scenes = 0;

/** Puts something into the upstreams that has not been requested yet. */
function addFresh(): Image {
  scenes += 1;
  const fresh = image({ name: `scene ${scenes}`, layerBytes: 100_000 });
  for (const { content } of upstreams) content.add(tagged, 'fresh', fresh);
  return fresh;
}

async function play({ clients, passedMs, movesTo, wrongs, lateTurns }: Scene): Promise<void> {
  app.clock.advance(passedMs);
  const until = gate();
  const fresh = addFresh();
  const now = movesTo === 'fresh' ? fresh : movesTo;
  for (const upstream of upstreams) {
    if (now !== 'nowhere') upstream.content.tag(tagged, '1', now.manifest.digest);
    for (const { path, times, fault } of wrongs) upstream.script({ path, times }, fault(until));
  }
  const over = clients.map(([{ method, path, headers }, when]) => {
    const target = path.replace(freshManifest, fresh.manifest.digest).replace(freshBlob, fresh.blobs[1]?.digest ?? '');
    const lines = [`${method} ${target} HTTP/1.1`, 'Host: mirror.test', 'Connection: close', ...headers];
    return askAndLeave(app.host, `${lines.join('\r\n')}\r\n\r\n`, when);
  });
  await afterTurns(lateTurns);
  until.open();
  await Promise.all(over);
  for (const upstream of upstreams) upstream.clearScripts();
}

/** Failures that the mirror counted as its own. */
function bugs(): readonly unknown[] {
  return app.logLines.filter(({ msg, status }) => msg === 'unexpected error' || status === 500);
}

test('clients that leave at any moment leave nothing behind and cause no bug, whatever the upstream does', async () => {
  await expectAlways(
    fc.asyncProperty(scene, async (one) => {
      await play(one);
      expect(bugs()).toEqual([]);
    }),
    400,
  );
  app.clock.advance(60 * minute);
  await app.quiet();
  for (const { requests } of upstreams) await Promise.all(requests.map(({ ended }) => ended));
  expect(app.logLines.filter(({ msg }) => msg === 'request').length).toBeGreaterThan(300);
});

test('afterwards every request and every download slot is free again', async () => {
  const [upstream, second] = upstreams;
  if (!upstream || !second) throw new Error('no upstream');
  app.clock.advance(60 * minute);
  upstream.forgetRequests();
  const cold = Array.from({ length: slots }, (_, index) => randomBlob(200_000, `cold ${index}`));
  for (const blob of cold) upstream.content.addBlob(tagged, blob);
  const until = gate();
  upstream.script({}, { holdHeaders: until });
  second.script({ path: /\/new-/ }, { holdHeaders: until });
  const pulls = cold.map((blob) => ask(app, `/v2/${tagged}/blobs/${blob.digest}`));
  const absent = maxRequests / 2 - slots;
  const others = Array.from({ length: absent }, (_, index) => ask(app, `/v2/${tagged}/manifests/absent-${index}`));
  await upstream.arrived('GET', /blobs/, slots);
  await upstream.arrived('GET', /absent/, absent);
  // Half of what one upstream leaves is there for the next.
  second.forgetRequests();
  const elsewhere = Array.from({ length: maxRequests / 4 }, (_, index) =>
    ask(app, `/ghcr.io/v2/team/new-${index}/manifests/1`),
  );
  await second.arrived('HEAD', /new-/, maxRequests / 4);
  until.open();
  for (const [index, { body }] of (await Promise.all(pulls)).entries())
    expect(body.equals(cold[index]?.bytes ?? Buffer.alloc(0))).toBe(true);
  for (const { status } of await Promise.all([...others, ...elsewhere])) expect(status).toBe(404);
  expect(bugs()).toEqual([]);
});
