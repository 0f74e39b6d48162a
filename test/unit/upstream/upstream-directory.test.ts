import { expect, test } from 'vitest';
import { scopeOf } from '../../../src/config/sections/names.ts';
import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import { defaultUpstreamSettings, type UpstreamSettings } from '../../../src/upstream/settings.ts';
import type { Lookup } from '../../../src/upstream/lookup/shared-lookup.ts';
import {
  bySpecificity,
  createUpstreamDirectory,
  namePatternMatcher,
} from '../../../src/upstream/upstream-directory.ts';
import { startFakeRegistry } from '../../support/fake-registry.ts';
import { image } from '../../support/images.ts';
import { gate } from '../../support/gate.ts';
import { hostName } from '../../support/host-name.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { thisTest } from '../../support/owner.ts';
import { countConnections } from './count-connections.ts';
import { RecordingObserver } from './recording-observer.ts';
import { startProxy } from './start-proxy.ts';
import { unlimited } from './start-client.ts';

function directoryOf(
  entries: Record<string, Partial<UpstreamSettings>>,
  { maxMatchedNames, lookup }: { readonly maxMatchedNames?: number; readonly lookup?: Lookup } = {},
) {
  const all = Object.entries(entries).map(
    ([key, settings]) => [key, { ...defaultUpstreamSettings, hosts: scopeOf(key), ...settings }] as const,
  );
  const directory = createUpstreamDirectory({
    entries: new Map(all),
    clock: new ManualClock(),
    observer: new RecordingObserver(),
    ...(maxMatchedNames === undefined ? {} : { maxMatchedNames }),
    ...(lookup === undefined ? {} : { lookup }),
  });
  thisTest(() => directory.close());
  return directory;
}

test('a configured name finds its upstream, and no other name finds one', () => {
  const directory = directoryOf({ 'ghcr.io': {} });

  expect(directory.find(hostName('ghcr.io'))).toMatchObject({ name: 'ghcr.io', label: 'ghcr.io' });
  expect(directory.find(hostName('GHCR.io'))?.name).toBe('ghcr.io');
  for (const unknown of ['quay.io', 'x.ghcr.io', 'ghcr.io:443', 'constructor', '169.254.169.254']) {
    expect(directory.find(hostName(unknown))).toBeUndefined();
  }
});

test('an alias means the same upstream', () => {
  const directory = directoryOf({ 'docker.io': { aliases: ['index.docker.io', 'Registry-1.docker.io'] } });

  expect(directory.find(hostName('index.docker.io'))).toBe(directory.find(hostName('docker.io')));
  expect(directory.find(hostName('registry-1.docker.io'))?.name).toBe('docker.io');
});

test('a configured name beats the alias of another upstream', () => {
  const directory = directoryOf({ 'a.example': {}, 'b.example': { aliases: ['a.example'] } });

  expect(directory.find(hostName('a.example'))?.name).toBe('a.example');
});

test('a pattern admits the names it matches; metrics use the pattern as their label', () => {
  const directory = directoryOf({ '*.gcr.io': {} });

  expect(directory.find(hostName('eu.gcr.io'))).toMatchObject({ name: 'eu.gcr.io', label: '*.gcr.io' });
  expect(directory.find(hostName('eu.gcr.io'))).toBe(directory.find(hostName('eu.gcr.io')));
  expect(directory.find(hostName('eu.gcr.io:5000'))).toBeUndefined();
});

test('an exact name beats a pattern, and a longer pattern a shorter one', () => {
  const directory = directoryOf({ '**': {}, '*.gcr.io': {}, '*.eu.gcr.io': {}, 'eu.gcr.io': {} });

  expect(directory.find(hostName('eu.gcr.io'))?.label).toBe('eu.gcr.io');
  expect(directory.find(hostName('us.gcr.io'))?.label).toBe('*.gcr.io');
  expect(directory.find(hostName('a.eu.gcr.io'))?.label).toBe('*.eu.gcr.io');
  expect(directory.find(hostName('quay.io'))?.label).toBe('**');
});

test('a name that a client chose leads to no private address, though a pattern admits it', async () => {
  const inside = await countConnections();
  const directory = directoryOf({ '**': {} });

  for (const name of [`127.0.0.1:${inside.port}`, `localhost:${inside.port}`]) {
    const asked = directory.find(hostName(name))?.listTags(parseRepository('a'), unlimited);
    await expect(asked).rejects.toMatchObject({
      reason: 'misbehaving',
      message: expect.stringContaining('private address'),
    });
  }
  expect(inside.connections()).toBe(0);
});

test('the names of all upstreams are resolved by one resolver, configured or matched by a pattern', async () => {
  const names: string[] = [];
  const lookup: Lookup = async (hostname) => {
    names.push(hostname);
    throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
  };
  const directory = directoryOf({ 'ghcr.io': {}, '*.gcr.io': {} }, { lookup });

  for (const name of ['ghcr.io', 'eu.gcr.io']) {
    const asked = directory.find(hostName(name))?.listTags(parseRepository('a'), unlimited);
    await expect(asked).rejects.toMatchObject({ reason: 'dns' });
  }
  expect(names).toEqual(['ghcr.io', 'eu.gcr.io']);
});

test('an upstream that redirects to ever more hosts whose lookup hangs uses one lookup, and leaves the others to the rest', async () => {
  const hanging = gate();
  const names: string[] = [];
  const lookup: Lookup = async (hostname) => {
    names.push(hostname);
    if (hostname !== 'ghcr.io') await hanging.opened;
    throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
  };
  const directory = directoryOf({ 'ghcr.io': {}, '*.evil.test': {} }, { lookup });
  const ask = (name: string) => directory.find(hostName(name))?.listTags(parseRepository('a'), unlimited);
  const held = ['a.evil.test', 'b.evil.test', 'c.evil.test'].map(ask);
  await expect(ask('ghcr.io')).rejects.toMatchObject({ reason: 'dns' });
  expect(names.filter((name) => name !== 'ghcr.io')).toEqual(['a.evil.test']);
  hanging.open();
  for (const one of held) await expect(one).rejects.toMatchObject({ reason: 'dns' });
});

test('behind a proxy, where addresses are not visible, a pattern for any host reaches listed hosts only', async () => {
  const proxy = await startProxy();
  const through = { proxy: { http: proxy.url, https: proxy.url, except: [] } };
  const directory = directoryOf({ '**': { ...through, redirectHosts: ['listed.example'] }, '*.pkg.dev': through });
  const ask = (name: string) => directory.find(hostName(name))?.listTags(parseRepository('a'), unlimited);

  await expect(ask('metadata.internal')).rejects.toMatchObject({
    reason: 'misbehaving',
    message: expect.stringContaining('redirectHosts'),
  });
  expect(proxy.asked).toEqual([]);

  for (const name of ['listed.example', 'eu.pkg.dev']) {
    await expect(ask(name)).rejects.toMatchObject({ name: 'UpstreamError' });
    expect(proxy.asked.at(-1)).toBe(`CONNECT ${name}:443`);
  }
});

test('names of one pattern evict no client of another, however many names are invented', () => {
  const directory = directoryOf({ '*.example': {}, '*.test': {} }, { maxMatchedNames: 2 });
  const kept = directory.find(hostName('a.example'));
  for (let name = 0; name < 10; name += 1) directory.find(hostName(`invented-${name}.test`));
  expect(directory.find(hostName('a.example'))).toBe(kept);
});

test('a client that was evicted for newer names still works', async () => {
  const registry = await startFakeRegistry();
  registry.content.add('app', 'latest', image());
  const directory = directoryOf({ '*.example': { url: registry.url } }, { maxMatchedNames: 1 });
  const first = directory.find(hostName('a.example'));
  const ask = () => first?.headManifest(parseRepository('app'), parseTag('latest'), unlimited);
  await ask();

  expect(directory.find(hostName('b.example'))).toBeDefined();

  expect(await ask()).toMatchObject({ size: expect.any(Number) });
  expect(directory.find(hostName('a.example'))).not.toBe(first);
});

test.each([
  { pattern: '*.gcr.io', name: 'eu.gcr.io', expected: true },
  { pattern: '*.gcr.io', name: 'gcr.io', expected: false },
  { pattern: '*.gcr.io', name: 'a.b.gcr.io', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcr.io:5000', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcrXio', expected: false },
  { pattern: '*.gcr.io', name: 'eu.gcr.io.evil.example', expected: false },
  { pattern: '*.corp.example:5000', name: 'a.corp.example:5000', expected: true },
  { pattern: '*.dkr.ecr.*.amazonaws.com', name: '123456789012.dkr.ecr.eu-west-1.amazonaws.com', expected: true },
  { pattern: '*.dkr.ecr.*.amazonaws.com', name: '1.dkr.ecr.eu.west.amazonaws.com', expected: false },
  { pattern: '**', name: 'any.host.example:5000', expected: true },
  { pattern: '**.example', name: 'any.host.example', expected: true },
  { pattern: '**', name: '[::1]', expected: false },
  { pattern: '**', name: '0x7f.1', expected: false },
  { pattern: '**', name: '1.2.3.999', expected: false },
  { pattern: '**', name: 'host.example:99999', expected: false },
])('$pattern admits "$name": $expected', ({ pattern, name, expected }) => {
  expect(namePatternMatcher(pattern)(hostName(name))).toBe(expected);
});

test('longer patterns come first', () => {
  expect(['**', '*.gcr.io', '*.eu.gcr.io'].toSorted(bySpecificity)).toEqual(['*.eu.gcr.io', '*.gcr.io', '**']);
});
