import { expect, test } from 'vitest';
import { withInstallationLock } from '../../../src/clients/installation-lock.ts';
import { gate } from '../../support/gate.ts';
import { startProcess } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';

test('of two commands for one folder the second waits; one for another folder does not', async () => {
  const root = await temporaryDirectory();
  const [begun, rest] = [gate(), gate()];
  const order: string[] = [];
  const work = (name: string) => async () => void order.push(name);
  const first = withInstallationLock({ root, folder: '/etc/docker' }, async () => {
    begun.open();
    await rest.opened;
    order.push('first');
  });
  await begun.opened;
  const second = withInstallationLock({ root, folder: '/etc/docker' }, work('second'));
  await withInstallationLock({ root, folder: '/etc/buildkit' }, work('other'));
  expect(order).toEqual(['other']);
  rest.open();
  await Promise.all([first, second]);
  expect(order).toEqual(['other', 'first', 'second']);
});

test('a command that fails does not keep the next one out', async () => {
  const place = { root: await temporaryDirectory(), folder: '/etc/docker' };
  const failed = withInstallationLock(place, async () => {
    throw new Error('disk full');
  });
  await expect(failed).rejects.toThrow('disk full');
  expect(await withInstallationLock(place, async () => 'done')).toBe('done');
});

test('a command that was killed does not keep the next one out; one that runs on does, for a while', async () => {
  const place = { root: await temporaryDirectory(), folder: '/etc/docker' };
  const script = `const { withInstallationLock } = await import(${JSON.stringify(new URL('../../../src/clients/installation-lock.ts', import.meta.url).href)});
await withInstallationLock(${JSON.stringify(place)}, () => new Promise(() => { console.log('locked'); setInterval(() => {}, 1000); }));`;
  const holder = startProcess(process.execPath, ['--input-type=module', '--eval', script]);
  await holder.waitUntil(({ stdout }) => stdout.includes('locked'));
  const refused = withInstallationLock(place, async () => 'done', { waitsAtMostMs: 0 });
  await expect(refused).rejects.toThrow('another process of layerwell is at work on /etc/docker');
  await holder.stop({ signal: 'SIGKILL' });
  expect(await withInstallationLock(place, async () => 'done')).toBe('done');
});
