import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BucketSettings } from '../../src/storage/s3/access/client.ts';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { StartedProcess } from './processes.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { tool } from './tools.ts';

/** A real S3 server (versitygw) on a loopback port, with one empty bucket, whose objects are files. */
export interface Bucket {
  readonly settings: BucketSettings;
  readonly url: string;
  /** Where the objects are files. */
  readonly directory: string;
  /** Stops the server, and starts it again on the same data and port. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

// As fake-s3.ts: a test may have both.
const accessKey = 'fake-access-key';
const secretKey = 'fake-secret-key';
const bucket = 'layers';

/** Its credentials are put into the environment, where the SDK looks for them. */
export async function startBucket(owner: Owner = thisTest): Promise<Bucket> {
  const root = await temporaryDirectory(owner);
  const directory = join(root, bucket);
  await mkdir(directory);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  process.env['AWS_ACCESS_KEY_ID'] = accessKey;
  process.env['AWS_SECRET_ACCESS_KEY'] = secretKey;
  let server: StartedProcess | undefined;
  const stop = async (): Promise<void> => {
    await server?.stop();
    server = undefined;
  };
  const start = async (): Promise<void> => {
    const env = { ROOT_ACCESS_KEY: accessKey, ROOT_SECRET_KEY: secretKey };
    server = new StartedProcess(
      tool('versitygw'),
      ['--port', `127.0.0.1:${port}`, '--quiet', '--keep-alive', 'posix', root],
      { env },
    );
    await answers(url);
  };
  owner(stop);
  await start();
  const settings: BucketSettings = {
    bucket,
    region: 'us-east-1',
    endpoint: url,
    prefix: '',
    pathStyle: true,
    checksums: 'when-required',
  };
  return { settings, url, directory, stop, start };
}

/** Resolves once the server answers anything. @throws after half a minute. */
async function answers(url: string): Promise<void> {
  const deadline = AbortSignal.timeout(30_000);
  for (;;) {
    deadline.throwIfAborted();
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
