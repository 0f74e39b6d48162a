import { expect, onTestFinished, test } from 'vitest';
import { createManagementApp } from '../../../../src/http/management/management.ts';
import { Connections } from '../../../../src/http/server/connections.ts';
import { Listener } from '../../../../src/http/server/listener.ts';
import { ask } from '../../../support/client.ts';
import { type Gate, gate } from '../../../support/gate.ts';
import { administration } from './no-administration.ts';

/** A management listener of two connections whose answers to `/metrics` wait for the gate. */
async function started() {
  const [held, both]: [Gate, Gate] = [gate(), gate()];
  const state = { refused: 0, asked: 0 };
  const connections = new Connections({ max: 2, closableAfterIdleMs: 0 });
  const host = '127.0.0.1';
  const app = createManagementApp({
    administration,
    host,
    hosts: [],
    readToken: undefined,
    pages: undefined,
    connections,
    report: () => {},
    onRefused: () => (state.refused += 1),
    readiness: async () => ({ isReady: true, body: {} }),
    metrics: async () => {
      state.asked += 1;
      if (state.asked === 2) both.open();
      await held.opened;
      return { contentType: 'text/plain', text: 'metrics' };
    },
  });
  const listener = new Listener(app, { name: 'management', host, port: 0, idleTimeoutMs: 60_000, connections });
  await listener.start();
  onTestFinished(() => listener.stop({ signal: AbortSignal.abort() }));
  return { url: listener.address, held, both, state };
}

test('above the limit of connections of the management listener, probes are answered and everything else is refused in words', async () => {
  const { url, held, both, state } = await started();
  const busy = [ask({ url }, '/metrics'), ask({ url }, '/metrics')];
  await both.opened;
  for (const path of ['/healthz', '/readyz'])
    expect(await ask({ url }, path)).toMatchObject({ status: 200, headers: { connection: 'close' } });
  expect(state.refused).toBe(0);
  for (const path of ['/metrics', '/api/v1/pins']) {
    const refused = await ask({ url }, path);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '2', connection: 'close' } });
    expect(JSON.parse(refused.body.toString())).toMatchObject({ type: '/problems/unavailable' });
  }
  expect(state.refused).toBe(2);
  held.open();
  expect((await Promise.all(busy)).map(({ status }) => status)).toEqual([200, 200]);
  expect((await ask({ url }, '/metrics')).status).toBe(200);
});
