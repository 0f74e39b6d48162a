import type * as Sdk from '@aws-sdk/client-s3';
import type { UndiciHttpHandler } from '@smithy/undici-http-handler';

/** The bucket, and how its server is spoken to. */
export interface BucketSettings {
  readonly bucket: string;
  /** Undefined: that of the environment. */
  readonly region: string | undefined;
  /** Undefined: AWS. */
  readonly endpoint?: string | undefined;
  /** What all keys begin with, without a slash at the end; empty: nothing. */
  readonly prefix: string;
  readonly pathStyle: boolean;
  readonly checksums: 'when-supported' | 'when-required';
  readonly serverSideEncryption?: 'AES256' | 'aws:kms' | undefined;
  readonly kmsKeyId?: string | undefined;
}

/** The SDK and its clients. */
export interface S3 {
  readonly sdk: typeof Sdk;
  /** For reads. It has no timeouts of its own but that of connecting: a slow client is not the bucket's fault. */
  readonly reading: Sdk.S3Client;
  /** For reads and listings that no client waits for: it repeats them. */
  readonly sweeping: Sdk.S3Client;
  /** For whatever changes the bucket. */
  readonly writing: Sdk.S3Client;
}

const connectWithinMs = 1_000;
/** Undici's are not needed: calls.ts limits the time to the headers, and the body watches its own progress. */
const noTimeout = 0;
/** How long a connection of an upload may be idle. */
const idleUploadMs = 15_000;
/** More than there are downloads and relays at the same time: a read that waited for a connection would count as a slow bucket. */
const maxSockets = 512;
/** Of a request that no client waits for, with exponential back-off, for 5xx, 429, throttling and lost connections. Reads are repeated by calls.ts. */
const maxAttempts = 3;

/** Loads the SDK. Credentials are those of AWS's default chain, and are looked up with the first request. */
export async function loadS3(settings: BucketSettings): Promise<S3> {
  const sdk = await import('@aws-sdk/client-s3');
  const shared = clientConfig(settings);
  const writing = {
    logger: silent,
    connectionTimeout: connectWithinMs,
    socketTimeout: idleUploadMs,
    httpAgent: { maxSockets },
    httpsAgent: { maxSockets },
  };
  return {
    sdk,
    reading: new sdk.S3Client({ ...shared, maxAttempts: 1, requestHandler: await readingHandler() }),
    sweeping: new sdk.S3Client({ ...shared, maxAttempts, requestHandler: await readingHandler() }),
    writing: new sdk.S3Client({ ...shared, maxAttempts, requestHandler: writing }),
  };
}

/** With Node's own client, a blob of 256 MiB costs twice the CPU, most of it for collections of garbage (`npm run bench -- replicas`). */
async function readingHandler(): Promise<UndiciHttpHandler> {
  const { UndiciHttpHandler: Handler } = await import('@smithy/undici-http-handler');
  return new Handler({
    dispatcher: {
      connections: maxSockets,
      connect: { timeout: connectWithinMs },
      headersTimeout: noTimeout,
      bodyTimeout: noTimeout,
    },
  });
}

/** The SDK would write to stderr that many requests wait for a connection. */
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function clientConfig({ region, endpoint, pathStyle, checksums }: BucketSettings): Sdk.S3ClientConfig {
  return {
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    forcePathStyle: pathStyle,
    requestChecksumCalculation: checksums === 'when-supported' ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
    // Content is verified by its digest.
    responseChecksumValidation: 'WHEN_REQUIRED',
    retryMode: 'standard',
    followRegionRedirects: endpoint === undefined,
  };
}
