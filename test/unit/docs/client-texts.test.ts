import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { clientConfiguration, clientKinds, type ClientName } from '../../../src/clients/kinds.ts';

const root = resolve(import.meta.dirname, '../../..');
const page = (name: string) => readFileSync(resolve(root, name), 'utf8');

/** The first block of code after `words`. */
function blockAfter(text: string, words: string): string {
  expect(text).toContain(words);
  return /^```\w+\n([^]*?)^```$/m.exec(text.slice(text.indexOf(words)))?.[1] ?? '';
}

function filesFor(name: ClientName, registries: readonly string[], url = 'http://127.0.0.1:5000') {
  const mirror = { url, registries: registries.map((one) => ({ name: one })), patterns: [] };
  return clientConfiguration(name, mirror).files;
}

test.each<[ClientName, readonly string[], string]>([
  ['containerd', [], '**containerd**'],
  ['k3s', ['docker.io'], '**k3s and RKE2**'],
  ['podman', ['docker.io', 'ghcr.io', 'registry.example.com:8443'], '**podman, buildah, skopeo and CRI-O**'],
  ['buildkit', ['docker.io', 'ghcr.io'], '**BuildKit**'],
])('the first page shows what `client %s` prints, and where it belongs', (name, registries, words) => {
  const [file] = filesFor(name, registries);
  expect(blockAfter(page('README.md'), words)).toBe(file?.text);
  expect(page('README.md')).toContain(`\`${file?.path}\``);
});

test('the first page shows the daemon.json that `client docker` prints', () => {
  const [file] = filesFor('docker', ['docker.io']);
  expect(JSON.parse(blockAfter(page('README.md'), '**docker**'))).toEqual(JSON.parse(file?.text ?? ''));
});

test('docs/nodes.md shows the hosts.toml that `client containerd` prints', () => {
  const [file] = filesFor('containerd', ['docker.io'], 'http://10.0.0.7:30500');
  const block = blockAfter(page('docs/nodes.md'), 'reads\nthem for each pull');
  expect(block.slice(block.indexOf('\n') + 1)).toBe(file?.text);
});

test('docs/clients.md names every client with its file and what is to be done then', () => {
  for (const name of Object.keys(clientKinds) as ClientName[]) {
    const row =
      page('docs/clients.md')
        .split('\n')
        .find((line) => line.startsWith(`| \`${name}\` |`)) ?? 'no row';
    const { folder } = { folder: undefined, ...clientKinds[name] };
    expect(row).toContain(row.includes('| the same file |') ? '' : (folder ?? name));
  }
});

test('the values for the chart are those of its README, for a mirror in the cluster and one with a name', () => {
  const values = (url: string) =>
    parse(clientConfiguration('kubernetes', { url, registries: [{ name: 'docker.io' }], patterns: [] }).text ?? '');
  expect(values('http://127.0.0.1:5000')).toEqual(parse(blockAfter(page('docs/nodes.md'), '## By the chart')));
  expect(values('https://mirror.example.com')).toEqual({
    nodeConfiguration: { enabled: true, mirrors: ['https://mirror.example.com'], registries: [{ name: 'docker.io' }] },
  });
});
