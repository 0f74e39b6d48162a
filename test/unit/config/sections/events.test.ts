import { expect, test } from 'vitest';
import { sectionsThatNeedRestart, mirrorLimits } from '../../../../src/app/mirror-rules.ts';
import { configOf, problemsWith } from '../../../support/config.ts';

const upstreams = { 'quay.io': {} };
const webhook = { name: 'ops', url: 'https://hooks.test/path?token=1', secretFile: 'secret' };
const problems = (events: object, more: object = {}) => problemsWith({ upstreams, events, ...more });
const mib = 1024 * 1024;

test('a webhook has a name, a URL and a secret; the rest has defaults', async () => {
  const { events } = await configOf({ upstreams, events: { webhooks: [webhook] } });
  expect(events).toMatchObject({
    queueBytes: 16 * mib,
    webhooks: [{ name: webhook.name, url: webhook.url, secret: { kind: 'file', path: '/etc/layerwell/secret' } }],
  });
});

test.each(['ftp://hooks.test/', 'https://user:password@hooks.test/', 'https://hooks.test/#a', 'hooks.test'])(
  '%s is no URL of a webhook',
  async (url) => {
    expect(await problems({ webhooks: [{ ...webhook, url }] })).toEqual([
      expect.stringMatching(/^events\.webhooks\[0\]\.url: expected a URL such as/),
    ]);
  },
);

test('webhooks need different names, a secret, and types that exist; there are sixteen at most', async () => {
  const { secretFile: _, ...open } = webhook;
  expect(await problems({ webhooks: [open] })).toEqual(['events.webhooks[0].secret: expected secret or secretFile']);
  expect(await problems({ webhooks: [webhook, webhook] })).toEqual([
    'events.webhooks: expected a different name for each',
  ]);
  expect(await problems({ webhooks: [{ ...webhook, types: ['tag.moved'] }] })).toHaveLength(1);
  const many = Array.from({ length: 17 }, (_each, place) => ({ ...webhook, name: `hook-${place}` }));
  expect(await problems({ webhooks: many })).toEqual(['events.webhooks: expected at most 16']);
});

test('the queue is bounded, a part of the store, and at most half of it', async () => {
  expect(await problems({ queueSize: '100kB' })).toEqual(['events.queueSize: expected "1MiB" to "1GiB"']);
  expect(await problems({ queueSize: '2GiB' })).toEqual(['events.queueSize: expected "1MiB" to "1GiB"']);
  const small = { storage: { maxSize: '20MiB' } };
  expect(await problems({ webhooks: [webhook] }, small)).toEqual([
    'events.queueSize: expected at most half of storage.maxSize',
  ]);
  expect((await configOf({ upstreams, ...small })).storage.maxBytes).toBe(20 * mib);

  const bytesOf = async (webhooks: readonly object[]) =>
    mirrorLimits(await configOf({ upstreams, storage: { maxSize: '100MiB' }, events: { webhooks } })).limits.maxBytes;
  expect([await bytesOf([]), await bytesOf([webhook])]).toEqual([100 * mib, 84 * mib]);
});

test('a change of the events needs a restart', async () => {
  const before = await configOf({ upstreams });
  expect(sectionsThatNeedRestart(before, await configOf({ upstreams, events: { webhooks: [webhook] } }))).toEqual([
    'events',
  ]);
});
