import { once } from 'node:events';
import { connect } from 'node:net';
import { Agent, request } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { startFakeRegistry } from './fake-registry.ts';

test('an address beyond loopback cannot be dialled', async () => {
  await expect(once(connect(443, '192.0.2.1'), 'connect')).rejects.toThrow('may not leave this machine');
});

test('a name that needs a lookup cannot be dialled', async () => {
  await expect(request('http://registry.example/v2/')).rejects.toThrow('may not leave this machine');
});

test('a name with a lookup function that returns a loopback address can be dialled, and with another address it cannot', async () => {
  const registry = await startFakeRegistry();
  const port = new URL(registry.url).port;
  const leadingTo = (address: string) =>
    new Agent({ connect: { lookup: (_name, _options, callback) => callback(null, [{ address, family: 4 }]) } });
  const answer = await request(`http://registry.example:${port}/v2/`, { dispatcher: leadingTo('127.0.0.1') });
  expect(answer.statusCode).toBe(200);
  await answer.body.dump();
  const outside = request(`http://registry.example:${port}/v2/`, { dispatcher: leadingTo('192.0.2.1') });
  await expect(outside).rejects.toThrow('may not leave this machine');
});

test('nock answers for hosts that do not exist', async () => {
  // From its import on, nock stands between every test of the file and its sockets.
  const { default: nock } = await import('nock');
  onTestFinished(() => nock.restore());
  nock('https://registry.example').get('/v2/').reply(200, { answered: 'by nock' });
  const answer = await request('https://registry.example/v2/', { dispatcher: new Agent() });
  expect(await answer.body.json()).toEqual({ answered: 'by nock' });
});
