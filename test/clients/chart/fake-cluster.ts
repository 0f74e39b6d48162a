import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** As much of a Kubernetes API server as helm's `lookup` needs. */
export interface FakeCluster extends AsyncDisposable {
  readonly url: string;
}

/** @param objects by their paths, such as `/apis/apps/v1/namespaces/mirror/statefulsets/a`. */
export async function startFakeCluster(objects: Readonly<Record<string, object>>): Promise<FakeCluster> {
  const answers: Readonly<Record<string, object>> = { ...discovery, ...objects };
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://cluster').pathname;
    const found = answers[path];
    response.writeHead(found === undefined ? 404 : 200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify(found ?? { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'NotFound', code: 404 }),
    );
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}

function resource(name: string, kind: string) {
  return { name, singularName: '', namespaced: true, kind, verbs: ['get', 'list'] };
}

const apps = { groupVersion: 'apps/v1', version: 'v1' };

const discovery = {
  '/version': { major: '1', minor: '36', gitVersion: 'v1.36.0' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: [{ name: 'apps', versions: [apps], preferredVersion: apps }],
  },
  '/api/v1': {
    kind: 'APIResourceList',
    groupVersion: 'v1',
    resources: [resource('secrets', 'Secret'), resource('services', 'Service')],
  },
  '/apis/apps/v1': {
    kind: 'APIResourceList',
    groupVersion: 'apps/v1',
    resources: [
      resource('statefulsets', 'StatefulSet'),
      resource('deployments', 'Deployment'),
      resource('daemonsets', 'DaemonSet'),
    ],
  },
};
