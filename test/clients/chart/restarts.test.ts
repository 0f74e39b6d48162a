import { expect, test } from 'vitest';
import { fixedSections } from '../../../src/app/mirror-rules.ts';
import { configJsonSchema } from '../../../src/config/schema.ts';
import { describeWithTools } from '../../support/tools.ts';
import { at, objectOf, render, type Rendered, renderWith } from './render.ts';

/** A change of each section, beside the values that make it possible. */
const changes: Readonly<Record<string, string>> = {
  listen: 'config.listen.port=5005',
  management: 'config.management.port=5006',
  storage: 'config.storage.maxSize=5GiB',
  index: 'config.index.path=/data/other.sqlite',
  cluster: 'redis.keyPrefix=other',
  freshness: 'config.freshness.tag=1m',
  download: 'config.download.maxConcurrent=7',
  clients: 'config.clients.maxRequests=77',
  events: 'config.events.queueSize=2MiB',
  defaultUpstream: 'config.defaultUpstream=ghcr.io',
  upstreams: 'config.upstreams.my\\.io.url=https://my.io',
  shutdown: 'config.shutdown.drain=20s',
  log: 'config.log.level=debug',
};

/** The time to stop depends on shutdown otherwise. */
const together = ['cluster.enabled=true', 'redis.url=redis://valkey:6379', 'terminationGracePeriodSeconds=60'];

function podOf(all: Rendered): unknown {
  return at(objectOf(all, 'StatefulSet'), '.spec.template');
}

function checksumOf(all: Rendered): unknown {
  return at(podOf(all), '.metadata.annotations["checksum/config"]');
}

function isFixed(section: string): boolean {
  return fixedSections.some((fixed) => fixed === section);
}

describeWithTools(['helm'], 'restarts by the Helm chart', () => {
  test('every section of the configuration has a change here', () => {
    const sections = Object.keys(configJsonSchema().properties ?? {}).filter((key) => key !== '$schema');
    expect(Object.keys(changes).toSorted()).toEqual(sections.toSorted());
  });

  test.concurrent.each(Object.entries(changes).filter(([section]) => isFixed(section)))(
    'a change of %s restarts the pods',
    async (_section, change) => {
      expect(checksumOf(await renderWith(...together, change))).not.toBe(checksumOf(await renderWith(...together)));
    },
  );

  test.concurrent.each(Object.entries(changes).filter(([section]) => !isFixed(section)))(
    'a change of %s restarts nothing',
    async (_section, change) => {
      expect(podOf(await renderWith(...together, change))).toEqual(podOf(await renderWith(...together)));
    },
  );

  test('a new version of the chart restarts nothing', async () => {
    const all = await renderWith();
    expect(JSON.stringify(podOf(all))).not.toContain('helm.sh/chart');
    expect(JSON.stringify(podOf(all))).not.toContain('app.kubernetes.io/version');
  });

  test('a process that hangs is ended without the time for a drain, and its last words are kept', async () => {
    const container = at(objectOf(await render([]), 'StatefulSet'), '.spec.template.spec.containers.0');
    expect(at(container, '.livenessProbe.terminationGracePeriodSeconds')).toBe(1);
    expect(at(container, '.terminationMessagePolicy')).toBe('FallbackToLogsOnError');
  });

  test('the only replica is reachable as soon as it listens; several are reached when they are ready', async () => {
    const published = async (...sets: readonly string[]) =>
      at(objectOf(await renderWith(...sets), 'Service'), '.spec.publishNotReadyAddresses');
    expect(await published()).toBe(true);
    expect(await published('replicaCount=2', 'cluster.enabled=true', 'redis.url=redis://valkey:6379')).toBeNull();
  });
});
