/** Two releases on one node. */
import { expect, test } from 'vitest';
import { configureNode, unconfigureNode } from '../../../src/commands/node-configuration.ts';
import { certs, testNode } from '../../support/node.ts';

const hub = `${certs}/docker.io/hosts.toml`;
const fallback = `${certs}/_default/hosts.toml`;
const registries = [{ name: 'docker.io' }];
const others = 'server = "https://mirror.example"\n';

test.each([false, true])('files of another release are not touched, with takeOver: %s', async (takeOver) => {
  const node = await testNode({ registries });
  await configureNode(node.options);
  await node.set({ registries, takeOver, owner: 'other/layerwell' });
  expect(await configureNode(node.options)).toBe(1);
  expect(node.actions.filter((action) => action.startsWith('refuse'))).toHaveLength(2);
  expect(node.lines.filter(({ release }) => release === 'cache/layerwell')).toHaveLength(2);
  await unconfigureNode(node.options, { stays: false });
  expect(await node.files()).toEqual([fallback, hub]);
});

test('two releases with takeOver do not rewrite the files of each other', async () => {
  const node = await testNode({ registries, takeOver: true });
  await node.write(hub, others);
  await configureNode(node.options);
  const first = await node.read(hub);
  for (const owner of ['other/layerwell', 'cache/layerwell', 'other/layerwell']) {
    await node.set({ registries, takeOver: true, owner });
    await configureNode(node.options);
    expect(await node.read(hub)).toBe(first);
  }
});

test('files of others come back when a release that took them over, and the one that replaced it, are removed', async () => {
  const node = await testNode({ registries, takeOver: true });
  await node.write(hub, others);
  await configureNode(node.options);
  await node.set({ registries, takeOverFrom: ['cache/layerwell'], owner: 'other/layerwell' });
  expect(await configureNode(node.options)).toBe(0);
  await unconfigureNode(node.options, { stays: false });
  await node.set({ registries, takeOver: true });
  await unconfigureNode(node.options, { stays: false });
  expect(await node.read(hub)).toBe(others);
});
