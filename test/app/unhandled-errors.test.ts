import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { image } from '../support/images.ts';
import { type Fault, mirrorOf, startMirror } from '../support/start-mirror.ts';

const repository = 'library/app';
const path = `/v2/${repository}/manifests/1`;
const built = image();

async function started(fault: Fault) {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  return startMirror(mirrorOf(upstream), { fault });
}

test('an unhandled rejection is logged with its stack and counted, and the process keeps serving', async () => {
  const mirror = await started('unhandled-rejection');
  expect((await mirror.metrics()).sum('layerwell_unhandled_rejections_total')).toBe(0);
  mirror.send('SIGUSR2');
  await mirror.logged(({ msg }) => msg === 'unhandled rejection');
  const line = mirror.logLines().find(({ msg }) => msg === 'unhandled rejection');
  expect(line).toMatchObject({ level: 50, err: { message: 'a failure that nobody handles' } });
  expect(JSON.stringify(line)).toContain('process-faults.ts');
  expect((await ask(mirror, path)).body.equals(built.manifest.bytes)).toBe(true);
  expect((await mirror.metrics()).sum('layerwell_unhandled_rejections_total')).toBe(1);
  expect(await mirror.stop()).toEqual({ code: 0, signal: null });
});

test('an uncaught exception ends the process with 1, a message, and its stack in the log', async () => {
  const mirror = await started('uncaught-exception');
  mirror.send('SIGUSR2');
  expect(await mirror.exited).toEqual({ code: 1, signal: null });
  expect(mirror.printed).toContain('ended by an uncaught exception: a failure that nobody catches');
  const line = mirror.logLines().find(({ msg }) => msg === 'uncaught exception');
  expect(line).toMatchObject({ level: 60, err: { message: 'a failure that nobody catches' } });
});
