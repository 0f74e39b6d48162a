import { expect, test } from 'vitest';
import { describeWithTools } from '../../support/tools.ts';
import { startFakeCluster } from './fake-cluster.ts';
import { at, objectOf, render } from './render.ts';

const template = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: release-layerwell-notes
data:
  notes: {{ include "layerwell/templates/NOTES.txt" . | toJson }}
`;

/** What helm says after an installation; `helm template` does not, so an object of its own holds it. */
async function notes(sets: readonly string[], args: readonly string[] = []): Promise<string> {
  const all = [...args, '--set-json', `extraObjects=${JSON.stringify([template])}`];
  const rendered = await render([...all, ...sets.flatMap((set) => ['--set', set])]);
  return String(at(objectOf(rendered, 'ConfigMap', '-notes'), '.data.notes'));
}

const kinds = ['containerd', 'docker', 'k3s', 'CRI-O', 'podman', 'BuildKit', 'kaniko', 'Any client'];

describeWithTools(['helm'], 'the notes after an installation', () => {
  test('say how operators reach the pages and the API', async () => {
    expect(await notes([])).toContain('Pages, API:      answer nobody until management.existingSecret names a token\n');
    expect(await notes(['management.existingSecret=operators', 'config.management.port=5005'])).toContain(
      'Pages, API:      http://localhost:5005/, after kubectl -n mirror port-forward statefulset/release-layerwell 5005\n',
    );
  });

  test.concurrent.each([
    { sets: [], url: 'http://CLUSTER_IP:5000', hint: "-o jsonpath='{.spec.clusterIP}'" },
    { sets: ['service.port=80'], url: 'http://CLUSTER_IP:80', hint: 'Nodes cannot resolve names of services' },
    { sets: ['service.type=NodePort'], url: 'http://NODE_ADDRESS:NODE_PORT', hint: '{.spec.ports[0].nodePort}' },
    {
      sets: ['service.type=NodePort', 'service.nodePort=30500', 'tls.existingSecret=tls'],
      url: 'https://NODE_ADDRESS:30500',
      hint: 'NODE_ADDRESS is the address of the node itself',
    },
    {
      sets: ['service.type=LoadBalancer'],
      url: 'http://LOAD_BALANCER:5000',
      hint: '{.status.loadBalancer.ingress[0]}',
    },
    { sets: ['service.clusterIP=10.96.7.9'], url: 'http://10.96.7.9:5000', hint: 'but reach their addresses' },
    {
      sets: ['service.type=LoadBalancer', 'service.loadBalancerIP=2001:db8::7'],
      url: 'http://[2001:db8::7]:5000',
      hint: 'http://[2001:db8::7]:5000',
    },
    {
      sets: ['hostPort=5000', 'service.port=80'],
      url: 'http://127.0.0.1:5000',
      hint: 'hostPort is refused in namespaces',
    },
  ])('have the scheme, address and port for every client: $url', async ({ sets, url, hint }) => {
    const said = await notes(sets);
    const address = url.replace(/^https?:\/\//, '');
    for (const kind of kinds) expect(said).toContain(kind);
    expect(said).toContain(`[host."${url}"]`);
    expect(said).toContain(`"registry-mirrors": ["${url}"]`);
    expect(said).toContain(`endpoint: ["${url}"]`);
    expect(said).toContain(`location = "${address}/docker.io"`);
    expect(said).toContain(`mirrors = ["${address}"]`);
    expect(said.includes('insecure = true')).toBe(url.startsWith('http:'));
    expect(said).toContain(hint);
  });

  test.concurrent('name the address that the Service has', async () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'x' }, spec: { clusterIP: '10.96.7.7' } };
    const path = '/api/v1/namespaces/mirror/services/release-layerwell';
    await using cluster = await startFakeCluster({ [path]: service });
    const said = await notes([], ['--dry-run=server', '--kube-apiserver', cluster.url]);
    expect(said).toContain('http://10.96.7.7:5000');
  });

  test.concurrent('have lines for a registry that is mirrored, and for dockerd only where names without a registry are of Docker Hub', async () => {
    const said = await notes([
      'upstreams.ghcr\\.io.aliases={pkg.example.com}',
      'upstreams.\\*\\.gcr\\.io.timeouts.connect=1s',
    ]);
    expect(said).not.toContain('docker.io');
    expect(said).toContain('.svc:5000/ghcr.io/NAME:TAG');
    expect(said).toContain('location = "CLUSTER_IP:5000/ghcr.io"');
    expect(said).toContain('[registry."ghcr.io"]');
    expect(said).toContain('--registry-map=ghcr.io=CLUSTER_IP:5000/ghcr.io');
    expect(said).toContain(
      'docker has mirrors for Docker Hub only, which is not what defaultUpstream names: by the path.',
    );
    expect(await notes(['config.defaultUpstream=ghcr.io'])).not.toContain('registry-mirrors');
    expect(await notes(['config.defaultUpstream=index.docker.io'])).toContain('registry-mirrors');
  });

  test.concurrent('name the file of k3s and that of RKE2', async () => {
    expect(await notes([])).toContain('/etc/rancher/k3s/registries.yaml or /etc/rancher/rke2/registries.yaml');
  });

  test.concurrent('warn of what is legal and seldom meant', async () => {
    const said = await notes([
      'replicaCount=2',
      'persistence.enabled=false',
      'config.upstreams.\\*\\*.timeouts.connect=1s',
    ]);
    expect(said).toContain('2 replicas each download for themselves');
    expect(said).toContain('the cache is lost with each pod');
    expect(said).toContain('lets everyone who reaches the mirror pull from any public registry');
  });
});
