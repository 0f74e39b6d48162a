import { parseNodeSettings } from '../../src/config/node-settings.ts';
import { desiredFiles } from '../../src/nodes/desired-files.ts';
import { image } from '../support/images.ts';
import type { RunningMirror } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';
import { startContainerd } from './containerd.ts';
import { containersClient } from './containers.ts';
import { pushed, testPulls } from './pulls.ts';

const registry = 'registry.test:8443';

/** The last file that `node-configuration` writes for a runtime. */
function fileFor(runtime: 'containerd' | 'crio', { url }: RunningMirror): string {
  const { port } = new URL(url);
  const mirrors = [`http://{nodeIP}:${port}`];
  const settings = parseNodeSettings({ owner: 'test', runtime, mirrors, registries: [{ name: registry }] }, 'test');
  return desiredFiles(settings, { nodeIP: '127.0.0.1', ca: undefined }).at(-1)?.text ?? '';
}

const kinds = { 'an image': pushed(image()) };

describeWithTools(
  ['containerd', 'ctr', 'docker-registry'],
  'containerd with the file of a node',
  () =>
    testPulls({
      connect: async (mirror) =>
        (await startContainerd(mirror.url, { hostsFile: fileFor('containerd', mirror) }))(registry),
      registry,
      kinds,
    }),
  { asRoot: true },
);

describeWithTools(
  ['podman', 'docker-registry'],
  'podman, which reads files as CRI-O does, with the file of a node',
  () =>
    testPulls({
      connect: (mirror) =>
        containersClient('podman', { registry, mirror: mirror.host, settings: fileFor('crio', mirror) }),
      registry,
      kinds,
    }),
  { asRoot: true },
);
