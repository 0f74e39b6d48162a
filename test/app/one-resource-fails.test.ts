import { expect, test } from 'vitest';
import { answeredLatelyMs } from '../../src/upstream/failover/circuit-breaker.ts';
import { circuitIs, circuitState } from '../support/circuit.ts';
import { ask } from '../support/client.ts';
import type { Fault } from '../support/fake-answer.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { gate } from '../support/gate.ts';
import { image, randomBlob } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';

const ping = /^\/v2\/$/;
const good = ['a', 'b', 'c'].map((name) => `library/${name}`);

async function started(entry: object = {}) {
  const upstream = await startFakeRegistry();
  for (const repository of good) upstream.content.add(repository, '1', image({ name: repository }));
  return { upstream, app: await startApp({ upstreams: { 'docker.io': { url: upstream.url, ...entry } } }) };
}

async function expectRestIsServed(app: RunningApp): Promise<void> {
  for (const repository of good) expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(200);
}

const faults: readonly { readonly what: string; readonly fault: Fault }[] = [
  { what: 'is always answered with 500', fault: { status: 500 } },
  { what: 'is always answered with 503', fault: { status: 503 } },
  { what: 'always breaks the connection', fault: { dropConnection: true } },
];

test.each(faults)('a manifest that $what leaves everything else available', async ({ fault }) => {
  const { upstream, app } = await started();
  upstream.script({ path: /library\/a\/manifests\/bad/ }, fault);
  for (let asked = 0; asked < 10; asked += 1) {
    expect((await ask(app, '/v2/library/a/manifests/bad')).status).toBe(503);
  }
  await expectRestIsServed(app);
  expect(upstream.count('GET', ping)).toBeLessThanOrEqual(1);
});

test.each(faults)(
  'a repository where everything $what leaves others available, though four clients ask in a loop',
  async ({ fault }) => {
    const { upstream, app } = await started();
    upstream.script({ path: /library\/bad\// }, fault);
    const loop = async (client: number) => {
      for (let asked = 0; asked < 10; asked += 1) {
        expect((await ask(app, `/v2/library/bad/manifests/${client}-${asked}`)).status).toBe(503);
      }
    };
    const loops = Promise.all([1, 2, 3, 4].map(loop));
    await expectRestIsServed(app);
    await loops;
    await expectRestIsServed(app);
    expect(upstream.count('GET', ping)).toBeLessThanOrEqual(1);
  },
);

test('several repositories that always fail leave others available while the upstream itself answers, even with 401', async () => {
  const { upstream, app } = await started();
  upstream.script({ path: /library\/bad/ }, { status: 503 });
  upstream.script({ path: ping }, { status: 401 });
  for (let asked = 0; asked < 10; asked += 1) {
    expect((await ask(app, `/v2/library/bad-${asked}/manifests/1`)).status).toBe(503);
  }
  await expectRestIsServed(app);
  expect(upstream.count('GET', ping)).toBe(1);
});

const brokenPings: readonly { readonly what: string; readonly fault: Fault }[] = [
  { what: 'answers 503', fault: { status: 503 } },
  { what: 'is not answered in time', fault: { holdHeaders: gate() } },
];

test.each(brokenPings)(
  'a registry whose /v2/ $what still gets requests while other repositories can be pulled',
  async ({ fault }) => {
    const { upstream, app } = await started({ timeouts: { headers: '100ms' } });
    await expectRestIsServed(app);
    upstream.script({ path: /library\/bad/ }, { status: 503 });
    upstream.script({ path: ping }, fault);
    for (let asked = 0; asked < 10; asked += 1) {
      expect((await ask(app, `/v2/library/bad-${asked}/manifests/1`)).status).toBe(503);
    }
    upstream.content.add('library/new', '1', image());
    expect((await ask(app, '/v2/library/new/manifests/1')).status).toBe(200);
    expect(upstream.count('GET', ping)).toBe(0);
    expect(await circuitState(app)).toBeUndefined();
  },
);

test.each(brokenPings)(
  'a registry whose /v2/ $what, and whose circuit broken repositories opened, is asked again by a pull that worked before',
  async ({ fault }) => {
    const { upstream, app } = await started({ timeouts: { headers: '100ms' } });
    await expectRestIsServed(app);
    await app.quiet();
    app.clock.advance(answeredLatelyMs);
    upstream.script({ path: /library\/bad/ }, { status: 503 });
    upstream.script({ path: ping }, fault);
    for (let asked = 0; asked < 10; asked += 1) await ask(app, `/v2/library/bad-${asked}/manifests/1`);
    await circuitIs(app, 'open');
    upstream.content.add('library/a', 'new', image({ name: 'new' }));

    expect((await ask(app, '/v2/library/a/manifests/new')).status).toBe(200);

    expect(await circuitState(app)).toBe('closed');
  },
);

test('the circuit of a registry that fails altogether opens again: each repository that answered before is tried once', async () => {
  const { upstream, app } = await started();
  await expectRestIsServed(app);
  await app.quiet();
  app.clock.advance(answeredLatelyMs);
  upstream.script({}, { status: 503 });
  for (let asked = 0; asked < 3; asked += 1) await ask(app, `/v2/library/bad-${asked}/manifests/1`);
  await circuitIs(app, 'open');
  upstream.forgetRequests();
  for (let asked = 0; asked < 10; asked += 1) {
    expect((await ask(app, `/v2/library/a/manifests/new-${asked}`)).status).toBe(503);
  }
  expect(upstream.requests.every(({ path }) => path.endsWith('/manifests/new-0'))).toBe(true);
  expect(await circuitState(app)).toBe('open');
});

test('manifests stay available while the storage of blobs is down', async () => {
  const storage = await freePort();
  const { upstream, app } = await started({ redirectHosts: [`127.0.0.1:${storage}`] });
  upstream.script({ path: /blobs/ }, { redirectTo: (path) => `http://127.0.0.1:${storage}${path}` });
  for (let asked = 0; asked < 5; asked += 1) {
    const { digest } = randomBlob(10, String(asked));
    expect((await ask(app, `/v2/library/a/blobs/${digest}`)).status).toBe(503);
  }
  await expectRestIsServed(app);
});

test('a manifest that always fails causes few upstream requests, however often clients ask, until some time has passed', async () => {
  const { upstream, app } = await started();
  const bad = /manifests\/bad/;
  upstream.script({ path: bad }, { status: 500 });
  for (let asked = 0; asked < 20; asked += 1) {
    expect((await ask(app, '/v2/library/a/manifests/bad')).status).toBe(503);
  }
  // Twice with all its retries.
  expect(upstream.count('GET', bad)).toBe(6);
  expect((await ask(app, '/v2/library/a/manifests/bad')).headers['retry-after']).toBe('5');

  upstream.clearScripts();
  upstream.content.add('library/a', 'bad', image());
  app.clock.advance(5_000);
  expect((await ask(app, '/v2/library/a/manifests/bad')).status).toBe(200);
});
