import { expect, test } from 'vitest';
import { parsePin, type Pin, PinSet } from '../../../../../src/mirror/administration/pins/pin-set.ts';
import { mostPins, Pins, type PinsDeps } from '../../../../../src/mirror/administration/pins/pins.ts';
import { pinnedBytes } from '../../../../../src/mirror/administration/pins/pinned-use.ts';
import { type ContentDetails, mostDetails } from '../../../../../src/mirror/ports/store-index.ts';
import { type Digest, digestOf } from '../../../../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../../../../src/oci/reference.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';

const nginx = { upstream: 'docker.io', repository: parseRepository('library/nginx') };
const never = { signal: new AbortController().signal };
const named = (name: string): Digest => digestOf(Buffer.from(name));

const noTotals = { bytes: 0, manifestBytes: 0, manifests: 0, blobs: 0, diskBytes: 0, keptBytes: 0, records: 0 };

function pinOf(text: string): Pin {
  const pin = parsePin(text);
  if (pin === undefined) throw new Error(`${text} is no pin`);
  return pin;
}

function details(more: Partial<ContentDetails> = {}): ContentDetails {
  const content = { size: 4_096, isManifest: false, usedAtMs: 0 };
  return { content, linkedBy: [nginx], tags: [], namedBy: [], names: [], ...more };
}

/** Pins over a repository of one tag, whose manifest names a layer. */
function pinsOf(more: Partial<PinsDeps> = {}, known: Partial<PinsDeps['index']> = {}) {
  const [manifest, layer] = [named('manifest'), named('layer')];
  const contents = new Map([
    [manifest, details({ names: [layer], tags: [{ repositoryId: nginx, tag: parseTag('1') }] })],
    [layer, details({ namedBy: [manifest] })],
  ]);
  const saved: string[] = [];
  const clock = new ManualClock();
  let asked = 0;
  const pins = new Pins({
    index: {
      isComplete: async () => true,
      totals: async () => ({ ...noTotals, manifests: 1, blobs: 1, diskBytes: 8_192, records: 3 }),
      repositories: async ({ last }) => (last === '' ? ['docker.io/library/nginx'] : []),
      tags: async (_, { after }) =>
        after === undefined ? [{ tag: parseTag('1'), digest: manifest, isStored: true }] : [],
      links: async (_, { after }) => (after === undefined ? [layer, manifest] : []),
      details: async (digest) => {
        asked += 1;
        return contents.get(digest) ?? details({ content: undefined, linkedBy: [] });
      },
      ...known,
    },
    isKept: () => false,
    save: async (text) => void saved.push(text),
    clock,
    observer: { internalError: () => {} },
    maxBytes: 1e9,
    ...more,
  });
  return { pins, saved, clock, manifest, layer, contents, asked: () => asked };
}

test.each([
  'docker.io/library/nginx',
  'docker.io/library/*',
  'docker.io/library/nginx:1',
  '**:1',
  `docker.io/library/nginx@${named('manifest')}`,
])('%s pins the image, and all that it names counts', async (text) => {
  const { pins, manifest } = pinsOf();
  expect(await pins.isPinned(manifest)).toBe(false);
  expect(await pins.add(pinOf(text), never)).toMatchObject({ text });
  expect(pins.bytes).toBe(8_192);
  expect(await pins.isPinned(manifest)).toBe(true);
  expect(await pins.isPinned(named('other'))).toBe(false);
  expect(pins.isPinnedRepository(nginx)).toBe(true);
  expect(pins.isPinnedRepository({ ...nginx, repository: parseRepository('none/other') })).toBe(text === '**:1');
  expect(await pins.remove(text, never)).toBe(true);
  expect({ isPinned: await pins.isPinned(manifest), bytes: pins.bytes }).toEqual({ isPinned: false, bytes: 0 });
});

test('pins of another process are restored; what is not of this version is not', async () => {
  const { pins, saved } = pinsOf();
  await pins.add(pinOf('docker.io/library/nginx:1'), never);
  const next = pinsOf().pins;
  expect(next.restore(JSON.parse(saved.at(-1) ?? ''))).toBe(true);
  expect(next.list()).toMatchObject([{ text: 'docker.io/library/nginx:1', atMs: pins.list()[0]?.atMs }]);
  for (const other of [null, [], { version: 2, pins: [] }, { version: 1, pins: [{ pin: 'x y', atMs: 1 }] }])
    expect(pinsOf().pins.restore(other)).toBe(false);
});

test('what is pinned is known once it is known what earlier processes have pinned: something, nothing or what cannot be told', () => {
  for (const saved of [{ version: 1, pins: [] }, undefined, null]) {
    const { pins } = pinsOf();
    expect(pins.isKnown).toBe(false);
    pins.restore(saved);
    expect({ isKnown: pins.isKnown, isEmpty: pins.isEmpty }).toEqual({ isKnown: true, isEmpty: true });
  }
});

test('there are no more pins than are looked at, and fewer with globs', async () => {
  const { pins } = pinsOf({ most: 300 });
  for (let at = 0; at < 200; at += 1) await pins.add(pinOf(`docker.io/a${at}/*`), never);
  expect(await pins.add(pinOf('docker.io/one-more/*'), never)).toBe('too-many-globs');
  for (let at = 0; at < 100; at += 1) await pins.add(pinOf(`docker.io/a/b${at}`), never);
  expect(await pins.add(pinOf('docker.io/one/more'), never)).toBe('too-many');
  expect(await pins.add(pinOf('docker.io/a/b1'), never)).toMatchObject({ text: 'docker.io/a/b1' });
  expect(mostPins).toBe(10_000);
});

test('what keeps more than nine tenths of the store is refused; what two pins share counts once', async () => {
  const { pins } = pinsOf({ maxBytes: 10_000 });
  expect(await pins.add(pinOf('docker.io/library/nginx:1'), never)).toMatchObject({});
  expect(await pins.add(pinOf('docker.io/library/nginx'), never)).toMatchObject({ text: 'docker.io/library/nginx' });
  expect(pins.bytes).toBe(8_192);
  expect(await pinsOf({ maxBytes: 9_000 }).pins.add(pinOf('docker.io/library/nginx'), never)).toBe('too-much');
});

test('while the index cannot tell, nothing is pinned anew, and what may be pinned is not evicted', async () => {
  const { pins } = pinsOf({}, { isComplete: async () => false });
  expect(await pins.add(pinOf('docker.io/library/nginx'), never)).toBe('unknown');
  const away = pinsOf({}, { details: async () => undefined }).pins;
  away.restore({ version: 1, pins: [{ pin: 'docker.io/library/nginx', atMs: 1 }] });
  expect(await away.isPinned(named('any'))).toBe(true);
});

test('content with more references than the index tells is taken to be pinned', async () => {
  const { pins, contents, layer } = pinsOf();
  await pins.add(pinOf('docker.io/acme/*'), never);
  contents.set(layer, details({ linkedBy: Array.from({ length: mostDetails }, () => nginx) }));
  expect(await pins.isPinned(layer)).toBe(true);
});

test('what was found pinned is not looked up again for five minutes', async () => {
  const { pins, manifest, clock, asked } = pinsOf();
  await pins.add(pinOf('docker.io/library/nginx'), never);
  const before = asked();
  for (const _ of ['once', 'again']) expect(await pins.isPinned(manifest)).toBe(true);
  expect(asked()).toBe(before + 1);
  clock.advance(5 * 60_000);
  await pins.isPinned(manifest);
  expect(asked()).toBe(before + 2);
});

test('what the disk does not take is not pinned', async () => {
  const { pins } = pinsOf({ save: () => Promise.reject(new Error('ENOSPC')) });
  await expect(pins.add(pinOf('docker.io/library/nginx'), never)).rejects.toThrow('ENOSPC');
  expect(pins.list()).toEqual([]);
  expect(pins.bytes).toBe(0);
});

test('content is measured up to a bound', async () => {
  const index: Parameters<typeof pinnedBytes>[2]['index'] = {
    repositories: async ({ last }) => (last === '' ? ['docker.io/library/nginx'] : []),
    tags: async () => [],
    links: async (_, { after }) => (after === undefined ? ['a', 'b', 'c'].map(named) : []),
    details: async () => details(),
  };
  const set = new PinSet([pinOf('docker.io/library/nginx')]);
  expect(await pinnedBytes(set, [], { index, isKept: () => false, ...never })).toBe(3 * 4_096);
  expect(await pinnedBytes(set, [], { index, isKept: () => false, most: 2, ...never })).toBe(2 * 4_096);
  expect(await pinnedBytes(set, [], { index, isKept: () => true, ...never })).toBe(0);
});
