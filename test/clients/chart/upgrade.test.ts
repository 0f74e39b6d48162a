import { expect, test } from 'vitest';
import { describeWithTools } from '../../support/tools.ts';
import { startFakeCluster } from './fake-cluster.ts';
import { type KubernetesObject, objectOf, type Rendered, render, renderWith } from './render.ts';

const path = '/apis/apps/v1/namespaces/mirror/statefulsets/release-layerwell';

/** Renders values for a cluster that has these objects already. */
async function upgradeOf(objects: Readonly<Record<string, object>>, ...sets: readonly string[]): Promise<Rendered> {
  await using cluster = await startFakeCluster(objects);
  const server = ['--dry-run=server', '--is-upgrade', '--kube-apiserver', cluster.url];
  return await render([...server, ...sets.flatMap((set) => ['--set', set])]);
}

async function installed(...sets: readonly string[]): Promise<Readonly<Record<string, KubernetesObject>>> {
  const set = objectOf(await renderWith(...sets), 'StatefulSet');
  if (set === undefined) throw new Error('no StatefulSet');
  return { [path]: set };
}

describeWithTools(['helm'], 'an upgrade of the Helm chart', () => {
  test.concurrent('goes through when no volume changes', async () => {
    expect(objectOf(await upgradeOf(await installed(), 'replicaCount=2'), 'StatefulSet')).toBeDefined();
  });

  test.concurrent.each([
    { from: '', to: 'persistence.size=80Gi', says: 'patch pvc data-release-layerwell-0 -p \'{"spec":' },
    { from: 'persistence.size=80Gi', to: '', says: 'persistence.size: the volumes have 80Gi, and no volume shrinks' },
    { from: '', to: 'persistence.storageClass=fast', says: 'persistence.storageClass: the volumes have ""' },
    { from: '', to: 'persistence.accessModes={ReadWriteOncePod}', says: 'the volumes have "ReadWriteOnce"' },
    { from: '', to: 'persistence.annotations.a=b', says: 'persistence.annotations: the volumes have' },
    { from: '', to: 'persistence.enabled=false', says: 'persistence: the replicas have volumes' },
    { from: 'persistence.enabled=false', to: '', says: 'persistence: the replicas have no volumes' },
    {
      from: '',
      to: 'kind=Deployment,persistence.enabled=false',
      says: 'kind: the replicas have volumes, which a Deployment does not use',
    },
    {
      from: 'fullnameOverride=release-layerwell',
      to: 'nameOverride=x,fullnameOverride=release-layerwell',
      says: 'nameOverride: the selector would change',
    },
  ])('from "$from" to "$to" is refused before anything changes, with the way to do it', async ({ from, to, says }) => {
    const objects = await installed(...(from === '' ? [] : [from]));
    const upgrade = upgradeOf(objects, ...(to === '' ? [] : [to]));
    await expect(upgrade).rejects.toThrow(says);
    await expect(upgrade).rejects.toThrow('`kubectl -n mirror delete statefulset release-layerwell');
  });

  test.concurrent('from a StatefulSet without volumes to a Deployment goes through', async () => {
    const sets = ['kind=Deployment', 'persistence.enabled=false'];
    expect(
      objectOf(await upgradeOf(await installed('persistence.enabled=false'), ...sets), 'Deployment'),
    ).toBeDefined();
  });

  test.concurrent('to another selector of a Deployment or of the pods of nodes is refused, with the way to do it', async () => {
    const sets = ['kind=Deployment', 'persistence.enabled=false', 'fullnameOverride=release-layerwell'];
    sets.push('nodeConfiguration.enabled=true', 'nodeConfiguration.mirrors={http://10.0.0.7:5000}');
    const before = await renderWith(...sets);
    const apps = '/apis/apps/v1/namespaces/mirror';
    const upgrade = upgradeOf(
      {
        [`${apps}/deployments/release-layerwell`]: { ...objectOf(before, 'Deployment') },
        [`${apps}/daemonsets/release-layerwell-node`]: { ...objectOf(before, 'DaemonSet', '-node') },
      },
      ...sets,
      'nameOverride=x',
    );
    await expect(upgrade).rejects.toThrow('`kubectl -n mirror delete deployment release-layerwell`');
    await expect(upgrade).rejects.toThrow('`kubectl -n mirror delete daemonset release-layerwell-node`');
  });

  test.concurrent('to another address of the Service is refused, with the way to do it', async () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'x' }, spec: { clusterIP: '10.96.7.7' } };
    const objects = { '/api/v1/namespaces/mirror/services/release-layerwell': service };
    const upgrade = upgradeOf(objects, 'service.clusterIP=10.96.7.8');
    await expect(upgrade).rejects.toThrow('service.clusterIP: the Service has 10.96.7.7');
    await expect(upgrade).rejects.toThrow('`kubectl -n mirror delete service release-layerwell`, then upgrade again');
    expect(objectOf(await upgradeOf(objects, 'service.clusterIP=10.96.7.7'), 'Service')).toBeDefined();
  });

  test.concurrent('keeps the secret of the replicas', async () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x' }, data: { secret: 'a2VwdA==' } };
    const objects = { '/api/v1/namespaces/mirror/secrets/release-layerwell-cluster': secret };
    const all = await upgradeOf(objects, 'cluster.enabled=true', 'redis.url=redis://redis:6379');
    expect(objectOf(all, 'Secret', '-cluster')).toMatchObject({ data: { secret: 'a2VwdA==' } });
  });
});
