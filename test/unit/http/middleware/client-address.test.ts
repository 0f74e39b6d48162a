import { expect, test } from 'vitest';
import { ClientAddresses, type TrustedProxies } from '../../../../src/http/middleware/client-address.ts';

const trusted = ['10.0.0.0/8', '192.0.2.7', 'fd00::/8'];

function originOf(
  remoteAddress: string | undefined,
  headers: Record<string, string>,
  given: Partial<TrustedProxies> = {},
) {
  const addresses = new ClientAddresses({ addresses: trusted, header: 'x-forwarded-for', ...given });
  return addresses.of({ socket: { remoteAddress }, headers } as Parameters<ClientAddresses['of']>[0]);
}

const forwarded = (value: string) => originOf('10.0.0.1', { forwarded: value }, { header: 'forwarded' });
const forwardedFor = (value: string) => originOf('10.0.0.1', { 'x-forwarded-for': value });

test('an address that is not a trusted proxy is the client, whatever it sends', () => {
  expect(originOf('198.51.100.1', { 'x-forwarded-for': '203.0.113.9' })).toEqual({ client: '198.51.100.1' });
  expect(originOf(undefined, { 'x-forwarded-for': '203.0.113.9' })).toEqual({ client: undefined });
});

test('without trusted proxies no header is believed', () => {
  const headers = { 'x-forwarded-for': '203.0.113.9' };
  expect(originOf('10.0.0.1', headers, { addresses: [] })).toEqual({ client: '10.0.0.1' });
});

test('the last address that is not a trusted proxy is the client', () => {
  expect(forwardedFor('203.0.113.9')).toEqual({ client: '203.0.113.9', proxy: '10.0.0.1' });
  expect(forwardedFor('1.2.3.4, 203.0.113.9, 192.0.2.7, 10.9.9.9')).toEqual({
    client: '203.0.113.9',
    proxy: '10.0.0.1',
  });
});

test('a client that writes the header itself does not choose its address', () => {
  expect(forwardedFor('10.1.1.1, 203.0.113.9')).toMatchObject({ client: '203.0.113.9' });
});

test('if all addresses are trusted proxies, the first one is the client', () => {
  expect(forwardedFor('10.2.2.2, 10.3.3.3')).toMatchObject({ client: '10.2.2.2' });
});

test.each(['nonsense, 10.3.3.3', ', 10.3.3.3', '<script>, 10.3.3.3', 'unknown, 10.3.3.3'])(
  'what is no address ends the search: %s',
  (value) => expect(forwardedFor(value)).toMatchObject({ client: '10.3.3.3' }),
);

test('without a usable address the proxy is named', () => {
  expect(forwardedFor('unknown')).toEqual({ client: '10.0.0.1', proxy: undefined });
  expect(originOf('10.0.0.1', {})).toEqual({ client: '10.0.0.1', proxy: undefined });
});

test.each([
  ['203.0.113.9:4711', '203.0.113.9'],
  ['2001:db8::1', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['[2001:db8::1]:4711', '2001:db8::1'],
  ['::ffff:203.0.113.9', '203.0.113.9'],
])('an address may be written as %s', (value, client) => expect(forwardedFor(value)).toMatchObject({ client }));

test('a zone, which means something on one host only, is no part of an address', () => {
  expect(forwardedFor('203.0.113.9, ::ffff:10.3.3.3%eth0')).toMatchObject({ client: '203.0.113.9' });
  expect(forwardedFor('fe80::1%eth0')).toMatchObject({ client: 'fe80::1' });
});

test('a proxy on an IPv6 socket with an IPv4 address is known by that address', () => {
  const headers = { 'x-forwarded-for': '203.0.113.9' };
  expect(originOf('::ffff:10.0.0.1', headers)).toEqual({ client: '203.0.113.9', proxy: '10.0.0.1' });
  expect(originOf('::ffff:198.51.100.1', headers)).toEqual({ client: '198.51.100.1' });
  expect(originOf('fd00::5', headers)).toEqual({ client: '203.0.113.9', proxy: 'fd00::5' });
});

test.each([
  ['for=203.0.113.9', '203.0.113.9'],
  ['for=1.2.3.4, for=203.0.113.9;proto=http;by=10.0.0.1', '203.0.113.9'],
  ['proto=https; For="[2001:db8::1]:4711"', '2001:db8::1'],
  ['for=203.0.113.9, for=10.4.4.4', '203.0.113.9'],
  ['for=_hidden, for=10.4.4.4', '10.4.4.4'],
  ['for="1.2.3.4, for=10.4.4.4', '10.4.4.4'],
])('Forwarded names the client: %s', (value, client) => expect(forwarded(value)).toMatchObject({ client }));

test('only the header that was chosen is read', () => {
  const headers = { forwarded: 'for=203.0.113.9', 'x-forwarded-for': '198.51.100.2' };
  expect(originOf('10.0.0.1', headers)).toMatchObject({ client: '198.51.100.2' });
  expect(originOf('10.0.0.1', headers, { header: 'forwarded' })).toMatchObject({ client: '203.0.113.9' });
});

test('of a long header only the last 32 addresses are read', () => {
  const proxies = Array.from({ length: 40 }, (_, i) => `10.0.1.${i}`);
  expect(forwardedFor(['203.0.113.9', ...proxies].join(', '))).toMatchObject({ client: '10.0.1.8' });
});
