import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseNodeSettings } from '../../../src/config/node-settings.ts';
import { desiredFiles } from '../../../src/nodes/desired-files.ts';

const usual = {
  owner: 'cache/layerwell',
  runtime: 'containerd',
  mirrors: ['http://{nodeIP}:30500'],
  registries: [{ name: 'docker.io' }],
};

/** The files, without their first line, which names the owner. */
function filesFor(settings: object, { nodeIP = '10.0.0.7', ca = undefined as string | undefined } = {}) {
  const files = desiredFiles(parseNodeSettings({ ...usual, ...settings }, 'settings'), {
    nodeIP,
    ca,
    certificates: new Map(),
  });
  return Object.fromEntries(
    files.map(({ path, text }) => {
      expect(text).toMatch(/^# layerwell cache\/layerwell: /);
      return [path, text.slice(text.indexOf('\n') + 1)];
    }),
  );
}

test('containerd asks the mirror first, for pulls only, for a second, and then the registry itself', () => {
  expect(filesFor({})).toEqual({
    '/etc/containerd/certs.d/docker.io/hosts.toml': `server = "https://registry-1.docker.io"

[host."http://10.0.0.7:30500"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "1s"
`,
    '/etc/containerd/certs.d/_default/hosts.toml': `
[host."http://10.0.0.7:30500"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "1s"
`,
  });
});

test('only the registries that are named get a file, if not every one', () => {
  const registries = [{ name: 'quay.io' }, { name: 'registry.test:8443' }, { name: 'localhost:5000' }];
  const files = filesFor({ registries, everyRegistry: false });
  expect(Object.keys(files)).toEqual([
    '/etc/containerd/certs.d/quay.io/hosts.toml',
    '/etc/containerd/certs.d/registry.test_8443_/hosts.toml',
    '/etc/containerd/certs.d/localhost_5000_/hosts.toml',
  ]);
  const servers = Object.values(files).map((text) => text.split('\n')[0]);
  expect(servers).toEqual([
    'server = "https://quay.io"',
    'server = "https://registry.test:8443"',
    'server = "http://localhost:5000"',
  ]);
});

test('several mirrors are asked in order, the registry may be elsewhere, and an IPv6 node is named in brackets', () => {
  const registries = [{ name: 'docker.io', server: 'https://hub.internal' }];
  const mirrors = ['http://{nodeIP}:30500', 'https://mirror.internal'];
  const files = filesFor({ registries, mirrors, dialTimeoutSeconds: 2 }, { nodeIP: 'fd00::7', ca: 'CA' });
  expect(files['/etc/containerd/certs.d/docker.io/hosts.toml']).toBe(`server = "https://hub.internal"

[host."http://[fd00::7]:30500"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"

[host."https://mirror.internal"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "2s"
  ca = "layerwell-ca.pem"
`);
});

test('CRI-O names the registry in the path, since it sends no ns', () => {
  const registries = [{ name: 'docker.io' }, { name: 'registry.test:8443' }];
  expect(filesFor({ runtime: 'crio', registries })).toEqual({
    '/etc/containers/registries.conf.d/50-layerwell.conf': `
[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "10.0.0.7:30500/docker.io"
insecure = true

[[registry]]
prefix = "registry.test:8443"
location = "registry.test:8443"

[[registry.mirror]]
location = "10.0.0.7:30500/registry.test_8443"
insecure = true
`,
  });
});

test.each(['k3s', 'rke2'])('%s has one file for all registries', (runtime) => {
  const mirrors = ['https://mirror.internal:5000'];
  const files = filesFor({ runtime, mirrors }, { ca: 'CA' });
  const path = `/etc/rancher/${runtime}`;
  expect(Object.keys(files)).toEqual([`${path}/layerwell-ca.pem`, `${path}/registries.yaml`]);
  expect(parse(files[`${path}/registries.yaml`] ?? '')).toEqual({
    mirrors: { 'docker.io': { endpoint: mirrors }, '*': { endpoint: mirrors } },
    configs: { 'mirror.internal:5000': { tls: { ca_file: `${path}/layerwell-ca.pem` } } },
  });
});

test('the folder can be another', () => {
  const folder = '/var/lib/rancher/k3s/agent/etc/containerd/certs.d';
  expect(Object.keys(filesFor({ folder, registries: [] }))).toEqual([`${folder}/_default/hosts.toml`]);
});
