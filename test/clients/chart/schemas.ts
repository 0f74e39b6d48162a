import { execFileSync, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { tool } from '../../support/tools.ts';
import { customKinds } from './custom-kinds.ts';

/**
 * Validates YAML with kubeconform against the schemas of a version of Kubernetes, such as `1.37.0`.
 * @returns its report; the last line is the summary.
 */
export async function kubeconform(yaml: string, version: string): Promise<string> {
  const folder = join(
    execFileSync(tool('kubernetes-schemas'), { encoding: 'utf8' }).trim(),
    `v${version}-local-strict`,
  );
  await using schemas = await serveSchemas(folder);
  const location = `${schemas.url}/api/{{.ResourceKind}}{{.KindSuffix}}.json`;
  const args = ['-strict', '-summary', '-n', '2', '-schema-location', location];
  const child = spawn(tool('kubeconform'), args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(yaml);
  return await text(child.stdout);
}

/** The schemas refer to each other by absolute paths, from a host on the internet: without their `$id`, from here. */
async function serveSchemas(folder: string): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const name = request.url?.split('/').at(-1) ?? '';
    const custom = customKinds[name];
    const schema = custom ? Promise.resolve(JSON.stringify(custom)) : readFile(join(folder, name), 'utf8');
    schema.then(
      (json) => void response.end(JSON.stringify({ ...JSON.parse(json), $id: undefined })),
      () => void response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
