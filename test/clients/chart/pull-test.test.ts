import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { type FakeRegistry, startFakeRegistry } from '../../support/fake-registry.ts';
import { multiPlatformImage } from '../../support/images.ts';
import { thisSuite } from '../../support/owner.ts';
import { type RunningMirror, startMirror } from '../../support/start-mirror.ts';
import { chart } from './render.ts';

const owner = thisSuite();
let registry: FakeRegistry;
let mirror: RunningMirror;

async function helmTest(env: Readonly<Record<string, string>>): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(chart, 'files/pull-test.mjs')], {
    env: { MIRROR: mirror.url, MANAGEMENT: mirror.managementUrl, ...env },
  });
  return stdout;
}

beforeAll(async () => {
  registry = await startFakeRegistry({ owner });
  registry.content.add('org/app', '1', multiPlatformImage());
  const upstreams = { 'registry.test:8443': { url: registry.url }, 'other.test': { url: registry.url } };
  mirror = await startMirror({ defaultUpstream: 'other.test', upstreams }, { owner });
});

describe('helm test', () => {
  test('pulls an image by digest through every way in which clients name a registry', async () => {
    const said = await helmTest({ IMAGE: 'registry.test:8443/org/app:1' });
    for (const way of ['?ns=', 'the Host header', 'the path', 'a path prefix']) expect(said).toContain(`by ${way}`);
  });

  test('fails when the image cannot be pulled', async () => {
    await expect(helmTest({ IMAGE: 'registry.test:8443/org/none:1' })).rejects.toThrow('NAME_UNKNOWN');
  });

  test('only asks whether the mirror is ready when it has no image to pull', async () => {
    expect(await helmTest({ IMAGE: '' })).toContain('nothing was pulled');
  });
});
