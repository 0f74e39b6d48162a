import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { clientConfiguration } from '../../../src/clients/kinds.ts';
import { parseNodeSettings } from '../../../src/config/node-settings.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { describeWithTools } from '../../support/tools.ts';
import { startFakeCluster } from './fake-cluster.ts';
import { at, objectOf, type Rendered, render, renderFile, renderWith } from './render.ts';

const enabled = 'nodeConfiguration.enabled=true';
const byPort = ['service.type=NodePort', 'service.nodePort=30500'];

/** The settings that the command on a node reads. */
function settingsIn(rendered: Rendered, suffix = '-node') {
  const text = String(at(objectOf(rendered, 'ConfigMap', suffix), '.data["settings.json"]'));
  return parseNodeSettings(JSON.parse(text), 'settings.json');
}

describeWithTools(['helm'], 'the node configuration of the Helm chart', () => {
  test('is off by default', async () => {
    const { objects } = await renderWith();
    expect(objects.filter(({ kind }) => kind === 'DaemonSet')).toEqual([]);
    expect(objects.filter(({ metadata }) => metadata.name.includes('node'))).toEqual([]);
  });

  test('works where labels and annotations are null', async () => {
    const nulls = ['commonLabels=null', 'commonAnnotations=null', 'nodeConfiguration.podLabels=null'];
    const set = await renderWith(enabled, ...byPort);
    expect((await renderWith(enabled, ...byPort, ...nulls)).objects).toEqual(set.objects);
  });

  test.each(['http://127.0.0.1:5000', 'https://mirror.test'])(
    'takes what `layerwell client kubernetes` prints for %s',
    async (url) => {
      const mirror = { url, registries: [{ name: 'docker.io', server: 'https://registry-1.docker.io' }], patterns: [] };
      const file = join(await temporaryDirectory(), 'values.yaml');
      await writeFile(file, clientConfiguration('kubernetes', mirror).text ?? '');
      const { mirrors, registries } = settingsIn(await renderFile(file));
      expect(mirrors).toEqual([url === 'https://mirror.test' ? url : 'http://{nodeIP}:30500']);
      expect(registries.map(({ name }) => name)).toContain('docker.io');
    },
  );

  test('has the registries of the configuration, without patterns, and is removed by the same settings', async () => {
    const rendered = await renderWith(enabled, ...byPort, 'config.upstreams.ghcr\\.io=null');
    const settings = settingsIn(rendered);
    expect(settings).toMatchObject({
      owner: 'mirror/release-layerwell',
      runtime: 'containerd',
      folder: '/etc/containerd/certs.d',
      mirrors: ['http://{nodeIP}:30500'],
      everyRegistry: true,
      takeOver: false,
      takeOverFrom: [],
      dialTimeoutSeconds: 1,
    });
    const names = settings.registries.map(({ name }) => name);
    expect(names).toContain('docker.io');
    expect(names).not.toContain('ghcr.io');
    expect(names.filter((name) => name.includes('*'))).toEqual([]);
    expect(settingsIn(rendered, '-node-removal')).toEqual(settings);
  });

  test('replaces the files of releases that are gone', async () => {
    const sets = ['nodeConfiguration.takeOver=true', 'nodeConfiguration.takeOverFrom={cache/old-layerwell}'];
    const settings = settingsIn(await renderWith(enabled, ...byPort, ...sets));
    expect(settings).toMatchObject({ takeOver: true, takeOverFrom: ['cache/old-layerwell'] });
  });

  test.each([
    { sets: ['service.clusterIP=10.96.7.7'], mirror: 'http://10.96.7.7:5000' },
    { sets: ['service.clusterIP=fd00::7', 'service.port=80'], mirror: 'http://[fd00::7]:80' },
    { sets: ['service.type=LoadBalancer', 'service.loadBalancerIP=192.0.2.7'], mirror: 'http://192.0.2.7:5000' },
    { sets: ['service.clusterIP=10.96.7.7', 'tls.existingSecret=tls'], mirror: 'https://10.96.7.7:5000' },
    { sets: [...byPort, 'nodeConfiguration.mirrors={http://a:1,https://b}'], mirror: 'http://a:1' },
  ])('reaches the mirror at $mirror', async ({ sets, mirror }) => {
    expect(settingsIn(await renderWith(enabled, ...sets)).mirrors[0]).toBe(mirror);
  });

  test('takes registries by name, or with their servers', async () => {
    const json = 'nodeConfiguration.registries=["quay.io",{"name":"docker.io","server":"https://hub.internal"}]';
    const rendered = await render(['--set', enabled, '--set', byPort.join(','), '--set-json', json]);
    expect(settingsIn(rendered).registries).toEqual([
      { name: 'quay.io' },
      { name: 'docker.io', server: 'https://hub.internal' },
    ]);
  });

  test('Services and budgets do not select its pods', async () => {
    const rendered = await renderWith(enabled, ...byPort);
    const labels = Object(at(objectOf(rendered, 'DaemonSet', '-node'), '.spec.template.metadata.labels'));
    const selectors = rendered.objects
      .filter(({ kind }) => kind === 'Service' || kind === 'PodDisruptionBudget')
      .map((each) => Object(at(each, '.spec.selector.matchLabels') ?? at(each, '.spec.selector')));
    expect(selectors.length).toBeGreaterThan(1);
    for (const selector of selectors)
      expect(Object.entries(selector).every(([key, value]) => labels[key] === value)).toBe(false);
  });

  test('an upgrade that switches it off removes the files', async () => {
    const daemonSet = { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'release-layerwell-node' } };
    const path = '/apis/apps/v1/namespaces/mirror/daemonsets/release-layerwell-node';
    await using cluster = await startFakeCluster({ [path]: daemonSet });
    await using other = await startFakeCluster({});
    const upgrade = (url: string) => render(['--is-upgrade', '--dry-run=server', '--kube-apiserver', url]);
    const hook = (rendered: Rendered) => {
      const removal = objectOf(rendered, 'DaemonSet', '-node-removal');
      return at(removal, '.metadata.annotations["helm.sh/hook"]');
    };
    expect(hook(await upgrade(cluster.url))).toBe('post-upgrade');
    expect(hook(await upgrade(other.url))).toBeNull();
  });
});
