import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { configOf, problemsWith } from '../support/config.ts';
import { describeWithTools, tool } from '../support/tools.ts';

const chart = resolve(import.meta.dirname, '../../charts/layerwell');

function helm(...args: readonly string[]): string {
  return execFileSync(tool('helm'), args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The objects helm would create, as YAML, without looking at a cluster. */
function rendered(...sets: readonly string[]): string {
  return helm('template', 'release', chart, '--kube-version', '1.31.0', ...sets.flatMap((set) => ['--set', set]));
}

function objectOf(kind: string, yaml: string): string {
  return yaml.split(/^---$/m).find((each) => new RegExp(`^kind: ${kind}$`, 'm').test(each)) ?? '';
}

/** The configuration file in the rendered ConfigMap. */
function configIn(yaml: string): string {
  const block = /^ {2}mirror\.config\.json: \|\n((?: {4}.*\n|\n)+)/m.exec(objectOf('ConfigMap', yaml))?.[1] ?? '';
  return block.replaceAll(/^ {4}/gm, '');
}

describeWithTools(['helm'], 'the Helm chart', () => {
  test('passes helm lint --strict', () => {
    const shapes = readdirSync(resolve(chart, 'ci')).map((name) => ['--values', resolve(chart, 'ci', name)]);
    for (const values of [[], ...shapes]) {
      expect(helm('lint', '--strict', '--kube-version', '1.31.0', chart, ...values)).toContain('0 chart(s) failed');
    }
  });

  test('ships a valid configuration that listens for other pods', async () => {
    const config = await configOf(configIn(rendered()));
    expect(config).toMatchObject({
      listen: { host: '::', port: 5000 },
      management: { host: '::', port: 5001 },
      storage: { path: '/data' },
    });
    expect(config.upstreams).toHaveLength(10);
  });

  test('serves the same upstreams as the shipped configuration file', async () => {
    const { loadConfig } = await import('../../src/config/loading/load.ts');
    const shipped = await loadConfig({ file: resolve(chart, '../../mirror.config.json'), env: {} });
    const charted = await configOf(configIn(rendered()));
    const byName = (entries: typeof shipped.upstreams) => entries.toSorted((a, b) => a.name.localeCompare(b.name));
    expect(byName(charted.upstreams)).toEqual(byName(shipped.upstreams));
  });

  test('lets values change, add and remove keys of the configuration', async () => {
    const yaml = rendered(
      'config.storage.maxSize=5GiB',
      'config.upstreams.my\\.io.url=http://my.io',
      'config.upstreams.quay\\.io=null',
    );
    const config = await configOf(configIn(yaml));
    expect(config.storage.maxBytes).toBe(5 * 1024 ** 3);
    expect(config.upstreams.map(({ name }) => name)).toContain('my.io');
    expect(config.upstreams.map(({ name }) => name)).not.toContain('quay.io');
  });

  test.each([
    { set: 'config.storage.maxSiz=5GiB', says: 'maxSiz' },
    { set: 'config.storage.maxSize=5', says: '/config/storage/maxSize' },
    { set: 'config.freshness.tag=soon', says: '/config/freshness/tag' },
    { set: 'replicas=2', says: 'replicas' },
    { set: 'image.digest=sha256:1', says: '/image/digest' },
  ])('rejects $set before anything is installed', ({ set, says }) => {
    expect(() => rendered(set)).toThrow(says);
  });

  test('probes use the management port, and no upstream', () => {
    const pod = objectOf('StatefulSet', rendered());
    expect(pod.match(/path: \/healthz\n\s+port: management/g)).toHaveLength(2);
    expect(pod.match(/path: \/readyz\n\s+port: management/g)).toHaveLength(1);
  });

  test('meets the restricted pod security standard', () => {
    const pod = objectOf('StatefulSet', rendered());
    for (const rule of [
      'runAsNonRoot: true',
      'type: RuntimeDefault',
      'allowPrivilegeEscalation: false',
      'drop:\n              - ALL',
      'readOnlyRootFilesystem: true',
    ]) {
      expect(pod).toContain(rule);
    }
    expect(pod).not.toMatch(/hostPath|hostNetwork|hostPort|privileged|hostPID/);
  });

  test('gives a pod longer to stop than the configured shutdown takes', async () => {
    const yaml = rendered();
    const { shutdown } = await configOf(configIn(yaml));
    const graceSeconds = Number(/terminationGracePeriodSeconds: (\d+)/.exec(yaml)?.[1]);
    expect(graceSeconds * 1000).toBeGreaterThan(shutdown.preStopMs + shutdown.drainMs);
  });

  test('requests a volume that fits the cache', async () => {
    const yaml = rendered();
    const { storage } = await configOf(configIn(yaml));
    const requestedGiB = Number(/storage: (\d+)Gi/.exec(yaml)?.[1]);
    expect(requestedGiB * 1024 ** 3).toBeGreaterThanOrEqual(storage.maxBytes + storage.minFreeBytes);
  });

  test('a mistake that only the mirror can see is found by the check at its start', async () => {
    expect(await problemsWith(configIn(rendered('config.defaultUpstream=x.y')))).toEqual([
      'defaultUpstream: expected the key or an alias of one of upstreams, not a pattern',
    ]);
  });
});
