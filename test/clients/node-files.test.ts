import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { configureNode } from '../../src/commands/node-configuration.ts';
import { parseNodeSettings } from '../../src/config/node-settings.ts';
import { desiredFiles } from '../../src/nodes/desired-files.ts';
import { type CertificateFiles, makeCertificateFiles } from '../support/certificate-files.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { image } from '../support/images.ts';
import { certs, testNode } from '../support/node.ts';
import { pushImage } from '../support/push.ts';
import { serve } from '../support/serve.ts';
import type { RunningMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
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
  return desiredFiles(settings, { nodeIP: '127.0.0.1', ca: undefined, certificates: new Map() }).at(-1)?.text ?? '';
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

/** A server with HTTPS before a registry without. @returns its URL. */
async function httpsBefore(registryHost: string, { certFile, keyFile }: CertificateFiles): Promise<string> {
  const keys = { cert: await readFile(certFile), key: await readFile(keyFile) };
  const port = await serve(({ method, url, headers }, answer) => {
    const inner = request(`http://${registryHost}${url}`, { method, headers }, (got) => {
      answer.writeHead(got.statusCode ?? 502, got.headers);
      got.pipe(answer);
    });
    inner.on('error', () => answer.destroy()).end();
  }, keys);
  return `https://127.0.0.1:${port}`;
}

describeWithTools(
  ['containerd', 'ctr', 'docker-registry'],
  'containerd with the file of a node, while the mirror is gone,',
  () => {
    test('trusts a registry by the CA certificate that its administrator had put into the folder', async () => {
      const upstream = await startDockerRegistry();
      const pushedImage = image();
      await pushImage(upstream.url, 'library/app', '1', pushedImage);
      const folder = await temporaryDirectory();
      const files = await makeCertificateFiles(folder, 'registry.test');
      const server = await httpsBefore(upstream.host, files);
      const node = await testNode({ mirrors: ['http://127.0.0.1:9'], registries: [{ name: registry, server }] });
      const ca = `${certs}/registry.test_8443_/ca.crt`;
      await node.write(ca, await readFile(files.certFile, 'utf8'));
      expect(await configureNode(node.options)).toBe(0);

      const client = (await startContainerd('', { hostsDir: join(node.root, certs) }))(registry);
      expect(await client.pull({ repository: 'library/app', tag: '1' })).toBe(pushedImage.manifest.digest);
    });
  },
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
