import type { ServerResponse } from 'node:http';
import { expect, test } from 'vitest';
import { parseRepository } from '../../../../../src/oci/reference.ts';
import { defaultUpstreamSettings } from '../../../../../src/upstream/settings.ts';
import { gate } from '../../../../support/gate.ts';
import { clientOf, unlimited } from '../../start-client.ts';
import { account, app, basic, latest, other, start } from './start-pulling.ts';
import { serve } from '../../serve.ts';

test('a token is fetched once, and the next request carries it from the start', async () => {
  const { pull, observer } = await start({ kind: 'bearer' });

  await pull();
  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'GET token 200', 'HEAD manifest 200', 'HEAD manifest 200']);
});

test('ten concurrent pulls that need one token cause one token request', async () => {
  const { pull, registry } = await start({ kind: 'bearer' });

  await Promise.all(Array.from({ length: 10 }, () => pull()));

  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('each repository gets its own pull-only token, requested with the account', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic()] });

  await pull(app);
  await pull(other);

  const tokens = registry.seen('GET', /^\/token$/);
  expect(tokens.map(({ query }) => Object.fromEntries(query))).toEqual(
    [app, other].map((repository) => ({
      service: 'fake',
      scope: `repository:${repository}:pull`,
      account: 'robot',
      client_id: 'layerwell',
    })),
  );
  expect(registry.count('HEAD')).toBe(3);
});

test('a token is renewed before it expires', async () => {
  const { pull, observer, clock } = await start({ kind: 'bearer', expiresInSeconds: 300 });
  await pull();
  clock.advance(269_000);
  await pull();
  expect(observer.story).toHaveLength(4);

  clock.advance(2_000);
  await pull();

  expect(observer.story.slice(4)).toEqual(['GET token 200', 'HEAD manifest 200']);
});

test('a token that is rejected before it expires is renewed once', async () => {
  const { pull, registry, observer } = await start({ kind: 'bearer' });
  await pull();
  registry.auth.revokeTokens();

  await pull();

  expect(observer.story.slice(3)).toEqual(['HEAD manifest 401', 'GET token 200', 'HEAD manifest 200']);
});

test('ten concurrent pulls whose token was rejected renew it once', async () => {
  const { pull, registry } = await start({ kind: 'bearer' });
  await pull();
  registry.auth.revokeTokens();

  await Promise.all(Array.from({ length: 10 }, () => pull()));

  expect(registry.count('GET', /^\/token$/)).toBe(2);
});

test('an account that the token endpoint rejects is tried once', async () => {
  const { pull, registry } = await start({ kind: 'bearer', ...account }, { credentials: [basic(async () => 'wrong')] });

  await expect(pull()).rejects.toMatchObject({ name: 'UpstreamError', reason: 'refused' });

  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test('an anonymous request that is rejected counts as denied', async () => {
  const { pull } = await start({ kind: 'bearer', ...account, privateRepositories: [app] });

  await expect(pull(app)).rejects.toMatchObject({ name: 'OciError', code: 'DENIED' });
  expect(await pull(other)).toMatchObject({ size: expect.any(Number) });
});

test('a registry that wants the password itself gets it from the start of the second request on', async () => {
  const { pull, observer } = await start({ kind: 'basic', ...account }, { credentials: [basic()] });

  await pull();
  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 200', 'HEAD manifest 200']);
});

test('a rotated password is read again', async () => {
  const passwords = ['old', 'old', account.password];
  const { pull, observer } = await start(
    { kind: 'basic', ...account },
    { credentials: [basic(async () => passwords.shift() ?? account.password)] },
  );

  await pull();

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 401', 'HEAD manifest 200']);
});

test('a password that stays wrong is sent once', async () => {
  const { pull, observer } = await start({ kind: 'basic', ...account }, { credentials: [basic(async () => 'wrong')] });

  await expect(pull()).rejects.toMatchObject({ reason: 'refused' });

  expect(observer.story).toEqual(['HEAD manifest 401', 'HEAD manifest 401']);
});

test('an account is used only for the repositories it is configured for', async () => {
  const { pull, registry } = await start(
    { kind: 'bearer', ...account, privateRepositories: [app] },
    { credentials: [{ ...basic(), repositories: ['team/app'] }] },
  );

  await pull(app);
  await pull(other);

  expect(registry.seen('GET', /^\/token$/).map(({ query }) => query.get('account'))).toEqual(['robot', null]);
});

test('a caller that stops waiting for a token does not disturb the others', async () => {
  const tokens = gate();
  const { pull, registry, client } = await start({ kind: 'bearer' });
  registry.script({ path: /^\/token$/ }, { holdHeaders: tokens });
  const leaving = new AbortController();
  const left = client.headManifest(app, latest, leaving);
  const stayed = pull();
  await registry.arrived('GET', /^\/token$/);

  leaving.abort(new Error('the client left'));
  await expect(left).rejects.toThrow('the client left');
  tokens.open();

  expect(await stayed).toMatchObject({ size: expect.any(Number) });
  expect(registry.count('GET', /^\/token$/)).toBe(1);
});

test.each([
  { what: 'no token', status: 200, body: '{}', reason: 'misbehaving' },
  { what: 'a book', status: 200, body: `{"token":"${'t'.repeat(100_000)}"}`, reason: 'misbehaving' },
  { what: 'a page', status: 200, body: '<html>', reason: 'misbehaving' },
  { what: 'that there is nothing', status: 404, body: '', reason: 'misbehaving' },
  { what: 'that it is overloaded', status: 429, body: '', reason: 'overloaded' },
  { what: 'that it is broken', status: 500, body: '', reason: 'unavailable' },
])('a token endpoint that answers $what fails the request ($reason)', async ({ status, body, reason }) => {
  const registry = await serve(({ url }, response) => {
    if (url.pathname === '/token') return void response.writeHead(status, { 'retry-after': '7' }).end(body);
    challenge(response, `Bearer realm="${registry.url}/token"`);
  });
  const { client } = clientOf(registry.url, { credentials: [basic()] });

  await expect(client.headManifest(app, latest, unlimited)).rejects.toMatchObject({ name: 'UpstreamError', reason });
});

function challenge(response: ServerResponse, value: string): void {
  response.writeHead(401, { 'www-authenticate': value }).end();
}

test('tokens without waiters are not requested, however many repositories a client named', async () => {
  const { timeouts } = defaultUpstreamSettings;
  const { registry, client, pull } = await start(
    { kind: 'bearer' },
    { timeouts: { ...timeouts, headersMs: 600_000, tokenMs: 600_000 } },
  );
  registry.script({ path: /^\/token$/ }, { holdHeaders: gate() });
  const leaving = new AbortController();
  const names = Array.from({ length: 20 }, (_, nth) => parseRepository(`team/app-${nth}`));
  const pulls = Promise.allSettled(names.map((name) => client.headManifest(name, latest, leaving)));
  await registry.arrived('GET', /^\/token$/, names.length);
  leaving.abort(new Error('left'));
  await pulls;
  const ends = await Promise.all(registry.seen('GET', /^\/token$/).map(({ ended }) => ended));
  expect(new Set(ends)).toEqual(new Set(['aborted']));
  registry.clearScripts();
  await pull();
});
