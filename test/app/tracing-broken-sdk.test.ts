import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';
import { recordSpans } from '../support/traces.ts';

test('an exporter that hangs delays the end by a moment only', async () => {
  const hangs = {
    forceFlush: () => new Promise<void>(() => {}),
    shutdown: async () => {},
    onStart: () => {},
    onEnd: () => {},
  };
  const { tracing } = recordSpans([hangs]);
  expect(await tracing.flush(10)).toBeUndefined();
});

test.each(['onStart', 'onEnd'] as const)('an SDK that throws in %s costs no pull', async (method) => {
  const broken = { forceFlush: async () => {}, shutdown: async () => {}, onStart: () => {}, onEnd: () => {} };
  const throwing = () => {
    throw new Error('the SDK is broken');
  };
  const spans = recordSpans([{ ...broken, [method]: throwing, forceFlush: throwing }]);
  const upstream = await startFakeRegistry();
  upstream.content.add('library/app', '1', image());
  const app = await startApp(mirrorOf(upstream), spans);
  const answers = [await ask(app, '/v2/library/app/manifests/1'), await ask(app, '/v2/')];

  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  await expect.poll(() => app.logLines.filter(({ msg }) => msg === 'request')).toHaveLength(2);
  expect((await app.metrics()).sum('layerwell_http_requests_in_flight')).toBe(0);
  expect(await spans.tracing.flush()).toBeUndefined();
});
