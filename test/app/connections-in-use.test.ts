import { expect, test } from 'vitest';
import { ask, caughtUp } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';

const repository = 'library/app';
const manifests = /\/manifests\//;
const manifest = (tag: string): string => `/v2/${repository}/manifests/${tag}`;

test('a pull gets 503 at once when all connections are in use and as many requests wait', async () => {
  const upstream = await startFakeRegistry();
  for (const tag of ['1', '2', '3', '4', '5']) upstream.content.add(repository, tag, image());
  const answering = gate();
  upstream.script({ path: manifests }, { holdHeaders: answering });
  const app = await startApp({
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstream.url, maxConnections: 2 } },
  });
  const [first, second] = [ask(app, manifest('1')), ask(app, manifest('2'))];
  await upstream.arrived('GET', manifests, 2);
  const [third, fourth] = [ask(app, manifest('3')), ask(app, manifest('4'))];
  await caughtUp(app);

  const refused = await ask(app, manifest('5'));
  expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
  expect(JSON.parse(refused.body.toString())).toMatchObject({ errors: [{ code: 'UNAVAILABLE' }] });
  expect(upstream.count('GET', manifests)).toBe(2);

  answering.open();
  const served = await Promise.all([first, second, third, fourth]);
  expect(served.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  expect((await ask(app, manifest('5'))).status).toBe(200);
});

test('a client that gives up frees its slot for the next one that waits for a connection', async () => {
  const upstream = await startFakeRegistry();
  for (const tag of ['1', '2', '3']) upstream.content.add(repository, tag, image());
  const answering = gate();
  upstream.script({ path: manifests }, { holdHeaders: answering });
  const app = await startApp({
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstream.url, maxConnections: 1 } },
  });
  const first = ask(app, manifest('1'));
  await upstream.arrived('GET', manifests);
  const leaving = new AbortController();
  const second = fetch(`${app.url}${manifest('2')}`, { signal: leaving.signal });
  await caughtUp(app);
  expect((await ask(app, manifest('3'))).status).toBe(503);

  leaving.abort();
  await expect(second).rejects.toThrow('aborted');
  await caughtUp(app);
  const third = ask(app, manifest('3'));
  await caughtUp(app);
  answering.open();
  expect([(await first).status, (await third).status]).toEqual([200, 200]);
});
