import { expect, test } from 'vitest';
import { warningsOf } from '../../../../src/config/loading/checks.ts';
import { configOf, problemsWith } from '../../../support/config.ts';

const upstreams = { 'quay.io': {} };

test.each(['10.0.0.1', '10.0.0.0/8', '0.0.0.0/0', '::1', 'fd00::/8'])('%s may be a trusted proxy', async (entry) => {
  expect((await configOf({ upstreams, clients: { trustedProxies: [entry] } })).clients.trustedProxies).toEqual([entry]);
});

test.each(['proxy.example', '10.0.0.0/33', '10.0.0/8', 'fd00::/129', '10.0.0.0/', '10.0.0.0/8/8', ''])(
  '"%s" is no trusted proxy',
  async (entry) => {
    expect(await problemsWith({ upstreams, clients: { trustedProxies: [entry] } })).toEqual([
      'clients.trustedProxies[0]: expected an address or a CIDR block such as "10.0.0.0/8" or "fd00::/8"',
    ]);
  },
);

test('a block of all addresses is warned about', async () => {
  const warnings = async (trustedProxies: readonly string[]) =>
    warningsOf(await configOf({ upstreams, clients: { trustedProxies } }));
  expect(await warnings(['10.0.0.0/8', '::/0'])).toEqual([
    'clients.trustedProxies[1]: has every address: every client chooses the address that the log says',
  ]);
  expect(await warnings(['10.0.0.0/8'])).toEqual([]);
});
