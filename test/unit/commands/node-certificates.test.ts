import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configureNode } from '../../../src/commands/node-configuration.ts';
import { certs, testNode } from '../../support/node.ts';

const hub = `${certs}/docker.io/hosts.toml`;
const fallback = `${certs}/_default/hosts.toml`;
const registries = [{ name: 'docker.io' }];

describe('certificates of an administrator for the registry itself', () => {
  test('in the folder of a registry are named in its hosts.toml, also those that come and go later', async () => {
    const node = await testNode({ registries });
    await node.write(`${certs}/docker.io/root.crt`, 'theirs');
    await node.write(`${certs}/_default/corporate.crt`, 'theirs');
    await configureNode(node.options);
    expect(await node.read(hub)).toContain('\nserver = "https://registry-1.docker.io"\nca = ["root.crt"]\n\n[host.');
    expect(await node.read(fallback)).toContain('\nca = ["corporate.crt"]\n\n[host.');

    await node.write(`${certs}/docker.io/client.cert`, 'theirs');
    await node.write(`${certs}/docker.io/client.key`, 'theirs');
    await rm(join(node.root, certs, 'docker.io/root.crt'));
    expect(await configureNode(node.options)).toBe(0);
    expect(await node.read(hub)).toContain('client = [["client.cert", "client.key"]]\n\n[host.');
    expect(await node.read(hub)).not.toContain('root.crt');
    expect(node.actions.at(-1)).toBe(`repair ${hub}`);
  });

  test('in another folder, which its hosts.toml hides from containerd, are named in it', async () => {
    const node = await testNode({ registries: [{ name: 'registry.test:8443' }, { name: 'quay.io' }] });
    await node.write(`${certs}/registry.test:8443/ca.crt`, 'theirs');
    await node.write(`${certs}/_default/all.crt`, 'theirs');
    await configureNode(node.options);
    expect(await node.read(`${certs}/registry.test_8443_/hosts.toml`)).toContain(
      '\nca = ["../registry.test:8443/ca.crt"]\n',
    );
    expect(await node.read(`${certs}/quay.io/hosts.toml`)).toContain('\nca = ["../_default/all.crt"]\n');
  });
});
