import { describe, expect, test } from 'vitest';
import { configureNode } from '../../../src/commands/node-configuration.ts';
import { certs, testNode } from '../../support/node.ts';

const registries = [{ name: 'docker.io' }];

describe('what containerd reads', () => {
  const configFile = '/etc/containerd/config.toml';

  test('is said if config_path does not name the folder, and config.toml is not touched', async () => {
    const node = await testNode({ registries });
    const text = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/elsewhere"\n';
    await node.write(configFile, text);
    await configureNode(node.options);
    expect(node.lines).toContainEqual(expect.objectContaining({ level: 40, use: 'elsewhere', configFile }));
    expect(await node.read(configFile)).toBe(text);
  });

  test('may be in a file that config.toml imports', async () => {
    const node = await testNode({ registries });
    await node.write(configFile, 'imports = ["conf.d/*.toml"]\n');
    await node.write(
      '/etc/containerd/conf.d/registry.toml',
      `[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '${certs}'\n`,
    );
    await configureNode(node.options);
    expect(node.lines.filter(({ level }) => level === 40)).toEqual([]);
  });
});

test('CRI-O and k3s get one file', async () => {
  const node = await testNode({ registries, runtime: 'crio' });
  await configureNode(node.options);
  expect(await node.files()).toEqual(['/etc/containers/registries.conf.d/50-layerwell.conf']);

  const k3s = await testNode({ registries, runtime: 'k3s' });
  await k3s.write('/etc/rancher/k3s/registries.yaml', 'mirrors: {}\n');
  expect(await configureNode(k3s.options)).toBe(1);
  expect(await k3s.read('/etc/rancher/k3s/registries.yaml')).toBe('mirrors: {}\n');
});
