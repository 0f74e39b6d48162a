import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../support/free-port.ts';
import type { Owner } from '../../support/owner.ts';
import { StartedProcess } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { tool } from '../../support/tools.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';

export const bucketTools = ['versitygw'];

const [accessKey, secretKey] = ['layerwell', 'a secret key of the bucket'];
const bucket = 'layers';

/** What a mirror needs in its environment to use the bucket. */
export const bucketEnvironment: Readonly<Record<string, string>> = {
  AWS_ACCESS_KEY_ID: accessKey,
  AWS_SECRET_ACCESS_KEY: secretKey,
  AWS_EC2_METADATA_DISABLED: 'true',
};

/** A bucket on a real server, behind a link that can be broken. */
export interface Bucket {
  readonly link: TcpProxy;
  /** Where the server itself listens. */
  readonly port: number;
  /** The section `storage.shared`, over the link. */
  readonly section: object;
  /** The same without the link. */
  readonly directSection: object;
}

/** Starts versitygw with an empty bucket. */
export async function startBucket(owner: Owner): Promise<Bucket> {
  const folder = await temporaryDirectory(owner);
  await mkdir(join(folder, bucket));
  const port = await freePort();
  const env = { ROOT_ACCESS_KEY: accessKey, ROOT_SECRET_KEY: secretKey };
  const server = new StartedProcess(tool('versitygw'), ['--port', `127.0.0.1:${port}`, 'posix', folder], { env });
  owner(async () => void (await server.stop({ signal: 'SIGKILL' })));
  await server.waitUntil(({ output }) => output.includes('listening on'), 10_000);
  const link = await startTcpProxy([port], owner);
  const section = { driver: 's3', bucket, endpoint: link.url, pathStyle: true };
  const directSection = { ...section, endpoint: `http://127.0.0.1:${port}` };
  return { link, port, section, directSection };
}
