import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { maxArriving } from '../../src/http/management/request-body.ts';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { thisTest } from '../support/owner.ts';
import { startPages, token } from '../support/start-pages.ts';

/** Announces a body that never comes. Resolves when the mirror has begun to wait for it. */
async function keepSilent(managementUrl: string, line: string, type: string): Promise<void> {
  const { hostname, port } = new URL(managementUrl);
  const socket = connect(Number(port), hostname).on('error', () => {});
  thisTest(async () => {
    socket.destroy();
  });
  const expecting = 'Expect: 100-continue\r\nContent-Length: 9';
  socket.write(`${line} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: ${type}\r\n${expecting}\r\n\r\n`);
  await once(socket, 'data');
}

function crowd(count: number, ask: () => Promise<void>): Promise<unknown> {
  return Promise.all(Array.from({ length: count }, ask));
}

test('clients that announce a form and never send it keep nobody from the pages', async () => {
  const { managementUrl } = await startPages();
  const silent = () => keepSilent(managementUrl, 'POST /login', 'application/x-www-form-urlencoded');
  await crowd(40, silent);
  expect((await ask({ url: managementUrl }, '/')).status).toBe(200);
  await crowd(maxArriving - 40, silent);
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const refused = await ask({ url: managementUrl }, '/login', { method: 'POST', headers: form, body: 'token=x' });
  expect({ status: refused.status, after: refused.headers['retry-after'] }).toEqual({ status: 503, after: '1' });
  expect((await ask({ url: managementUrl }, '/browse')).status).toBe(200);
});

test('clients that announce a body and never send it keep nobody from the API', async () => {
  const at = await startPages();
  await crowd(40, () => keepSilent(at.managementUrl, 'GET /api/v1/stats', 'application/json'));
  expect((await askApi(at, '/api/v1/stats')).status).toBe(200);
  const purge = { repository: 'docker.io/library/none' };
  const headers = { 'content-type': 'application/json' };
  const asked = await askApi(at, '/api/v1/purge', { method: 'POST', token, headers, body: JSON.stringify(purge) });
  expect(asked.status).toBe(404);
});

test('as many silent bodies as may arrive, for the API and for pages, leave reads, metrics and probes to others', async () => {
  const at = await startPages();
  const { managementUrl } = at;
  await crowd(maxArriving, () => keepSilent(managementUrl, 'POST /login', 'application/x-www-form-urlencoded'));
  await crowd(maxArriving, () => keepSilent(managementUrl, 'GET /api/v1/stats', 'application/json'));
  for (const path of ['/browse', '/metrics', '/api/v1/pins', '/readyz'])
    expect([path, (await ask({ url: managementUrl }, path)).status]).toEqual([path, 200]);
});

test('a request for the headers of a live page is answered at once', { timeout: 20_000 }, async () => {
  const { managementUrl } = await startPages();
  const answer = await ask({ url: managementUrl }, '/pages/live', { method: 'HEAD' });
  expect({ status: answer.status, type: answer.headers['content-type'] }).toEqual({
    status: 200,
    type: 'text/event-stream',
  });
});
