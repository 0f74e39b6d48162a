import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { StartedProcess } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { describeWithTools } from '../../support/tools.ts';
import { at, chart, objectOf, render, type Rendered, renderFile, renderWith } from './render.ts';
import { valuesFilesIn } from './values-files.ts';

const values = [...valuesFilesIn(join(chart, 'ci')), ...valuesFilesIn(join(import.meta.dirname, 'accepted'))];
const named = z.looseObject({ name: z.string() });
const pod = z.object({
  containers: z.tuple([
    z.looseObject({
      image: z.string(),
      args: z.array(z.string()).optional(),
      env: z.array(named).optional(),
      envFrom: z.array(z.unknown()).optional(),
      volumeMounts: z.array(named),
    }),
  ]),
  volumes: z.array(named),
});

function podIn(all: Rendered, kind: string, suffix = '') {
  return pod.safeParse(at(objectOf(all, kind, suffix), '.spec.template.spec')).data;
}

/** Runs the check as the Job would, on the configuration that it would mount. */
async function checked(...sets: readonly string[]) {
  const all = await renderWith(...sets);
  const file = join(await temporaryDirectory(), 'mirror.config.json');
  await writeFile(file, z.string().parse(at(objectOf(all, 'ConfigMap', '-check'), '.data["mirror.config.json"]')));
  const args = podIn(all, 'Job', '-check')?.containers[0].args ?? [];
  const inPod = args.map((arg) => arg.replace('/etc/layerwell/mirror.config.json', file));
  const process_ = new StartedProcess(process.execPath, ['src/main.ts', ...inPod]);
  return { exit: await process_.exited, printed: process_.output };
}

describeWithTools(['helm'], 'upgrades by the Helm chart', () => {
  test('a configuration that cannot be used is refused before anything is replaced', async () => {
    const { exit, printed } = await checked('config.defaultUpstream=x.y');
    expect(exit.code).toBe(2);
    expect(printed).toContain('defaultUpstream: expected the key or an alias of one of upstreams');
    const job = objectOf(await render([]), 'Job', '-check');
    expect(at(job, '.metadata.annotations["helm.sh/hook"]')).toBe('pre-install,pre-upgrade');
    expect(at(job, '.spec.backoffLimit')).toBe(0);
  });

  test('an argument that the mirror does not know is refused before anything is replaced', async () => {
    const { exit, printed } = await checked('extraArgs={--verbose}');
    expect(exit.code).toBe(1);
    expect(printed).toContain("unknown option '--verbose'");
  });

  test('another file of the configuration is the one that is checked, and the file of the chart is not waited for', async () => {
    const all = await renderWith('extraArgs={--config,/config/mirror.json}');
    const args = podIn(all, 'Job', '-check')?.containers[0].args ?? [];
    expect(args.slice(-2)).toEqual(['--config', '/config/mirror.json']);
    expect(objectOf(all, 'Job', '-reload')).toBeUndefined();
  });

  test('the configuration of the chart is accepted by the check', async () => {
    expect((await checked()).exit.code).toBe(0);
  });

  test.concurrent.each(values)('the check has what the mirror reads: $title', async ({ path }) => {
    const all = await renderFile(path);
    const mirror = podIn(all, 'StatefulSet') ?? podIn(all, 'Deployment');
    const check = podIn(all, 'Job', '-check');
    if (!check || !mirror) return;
    const [own, its] = [mirror.containers[0], check.containers[0]];
    const mounts = own.volumeMounts.filter(({ name }) => name !== 'data');
    const env = its.env?.filter(({ name }) => name !== 'NODE_OPTIONS') ?? [];
    expect({ image: its.image, env, envFrom: its.envFrom, mounts: its.volumeMounts }).toEqual({
      image: own.image,
      env: own.env ?? [],
      envFrom: own.envFrom,
      mounts,
    });
    const volumes = new Set(check.volumes.map(({ name }) => name));
    expect(mounts.filter(({ name }) => !volumes.has(name))).toEqual([]);
    expect(JSON.stringify(check.volumes)).not.toContain('persistentVolumeClaim');
  });

  test('an SDK for traces is not loaded by the check, which does not have what initContainers copy', async () => {
    const options = ['extraEnv[0].name=NODE_OPTIONS', 'extraEnv[0].value=--import=/otel/otel.mjs'];
    const all = await renderWith(...options, 'extraEnv[1].name=OTEL_SERVICE_NAME', 'extraEnv[1].value=mirror');
    expect(podIn(all, 'StatefulSet')?.containers[0].env).toContainEqual(
      expect.objectContaining({ name: 'NODE_OPTIONS', value: '--import=/otel/otel.mjs' }),
    );
    expect(podIn(all, 'Job', '-check')?.containers[0].env).toEqual([
      { name: 'OTEL_SERVICE_NAME', value: 'mirror' },
      { name: 'NODE_OPTIONS', value: '' },
    ]);
    const fromSecret = await renderWith('extraEnvFrom[0].secretRef.name=variables'); // It may hold NODE_OPTIONS.
    expect(podIn(fromSecret, 'Job', '-check')?.containers[0].env).toEqual([{ name: 'NODE_OPTIONS', value: '' }]);
  });

  test('what the release itself makes first is not waited for', async () => {
    const own = await renderWith(
      'extraObjects[0].apiVersion=v1',
      'extraObjects[0].kind=Secret',
      'extraObjects[0].metadata.name=mine',
    );
    expect(at(objectOf(own, 'Job', '-check'), '.metadata.annotations["helm.sh/hook"]')).toBe('pre-upgrade');
    const issued = await renderWith('tls.certManager.enabled=true', 'tls.certManager.issuerRef.name=ca');
    expect(objectOf(issued, 'Job', '-check')).toBeUndefined();
    const together = await renderWith('cluster.enabled=true', 'redis.url=redis://valkey:6379');
    const ofSecret = podIn(together, 'Job', '-check')?.volumes.find(({ name }) => name === 'cluster-secret');
    expect(ofSecret).toMatchObject({ configMap: { name: 'release-layerwell-check' } });
  });

  test('an upgrade waits until every pod uses the configuration', async () => {
    const all = await renderWith('config.management.port=5009');
    expect(at(objectOf(all, 'Job', '-reload'), '.metadata.annotations["helm.sh/hook"]')).toBe('post-upgrade');
    const { args = [] } = podIn(all, 'Job', '-reload')?.containers[0] ?? {};
    expect(args).toEqual(expect.arrayContaining(['await-reload', 'release-layerwell-management.mirror.svc:5009']));
    expect(at(objectOf(all, 'Service', '-management'), '.spec.publishNotReadyAddresses')).toBe(true);
  });

  test('no Service sends requests to the pods of the Jobs, and a NetworkPolicy lets them read /readyz', async () => {
    const all = await renderWith(
      'networkPolicy.enabled=true',
      'networkPolicy.monitoring[0].podSelector.matchLabels.a=b',
    );
    const labels = at(objectOf(all, 'Job', '-reload'), '.spec.template.metadata.labels');
    expect(labels).toMatchObject({ 'app.kubernetes.io/name': 'layerwell-upgrade' });
    expect(at(objectOf(all, 'NetworkPolicy'), '.spec.ingress.1.from.1.podSelector.matchLabels')).toEqual(labels);
  });

  test('both can be switched off', async () => {
    const all = await renderWith('upgrade.check.enabled=false', 'upgrade.awaitReload.enabled=false');
    expect(all.objects.filter(({ kind }) => kind === 'Job')).toEqual([]);
    expect(objectOf(all, 'ConfigMap', '-check')).toBeUndefined();
  });
});
