import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { get } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';

test('npm start replaces its shell, so that SIGTERM reaches the mirror', async () => {
  const { scripts } = JSON.parse(await readFile('package.json', 'utf8'));
  expect(scripts.start).toMatch(/^exec node /);
});

test('a mirror logs its address to stdout when it listens, and is healthy and ready from then on', async () => {
  const upstream = await startFakeRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  expect(mirror.logLines().filter(({ msg }) => msg === 'listening')).toMatchObject([{ address: mirror.url }]);
  const management = { url: mirror.managementUrl };
  expect(await get(management, '/healthz')).toMatchObject({ status: 200 });
  expect(await get(management, '/readyz')).toMatchObject({ status: 200 });
  expect(await get(mirror, '/metrics')).toMatchObject({ status: 404 });
  expect(await get(mirror, '/healthz')).toMatchObject({ status: 404 });
});

test('a starting mirror logs which upstreams are unreachable, and sends nothing to offline ones', async () => {
  const [registry, offline] = [await startFakeRegistry(), await startFakeRegistry()];
  const gone = `http://127.0.0.1:${await freePort()}`;
  const upstreams = {
    'there.test': { url: registry.url },
    'gone.test': { url: gone },
    'behind.test': { url: gone, mirrors: [{ url: registry.url }] },
    'offline.test': { url: offline.url, freshness: { offline: true } },
    '*.pattern.test': {},
  };
  const mirror = await startMirror({ upstreams });
  const told = () => mirror.logLines().filter(({ msg }) => msg === 'upstream');
  await mirror.logged(() => told().length === 3);
  expect(told()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ upstream: 'there.test', state: 'reachable' }),
      expect.objectContaining({ upstream: 'gone.test', state: 'unreachable', reason: 'connect' }),
      expect.objectContaining({ upstream: 'behind.test', state: 'reachable' }),
    ]),
  );
  const ready = await fetch(`${mirror.managementUrl}/readyz`);
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({
    upstreams: {
      'gone.test': { state: 'unreachable' },
      'offline.test': { state: 'not asked yet' },
      '*.pattern.test': { state: 'not asked yet' },
    },
  });
  expect(registry.count()).toBe(2);
  expect(offline.count()).toBe(0);
});
