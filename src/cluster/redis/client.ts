import type { Duplex } from 'node:stream';
import type { AbstractConnector, Cluster, ClusterOptions, Redis, RedisOptions } from 'ioredis';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { failureOf, RedisUnavailable } from './failure.ts';
import type { Argument } from './reply.ts';
import { type HostPort, type ParsedUrl, parseRedisUrl, type RedisSettings } from './settings.ts';

/** A command with its arguments. */
export interface Call {
  readonly command: string;
  readonly args: readonly Argument[];
  /** The reply may have bytes that are no text: see {@link parseReply}. */
  readonly isBinary?: boolean | undefined;
}

/** One connection that was made. It is not made again: whoever uses it opens another. */
export interface RedisClient {
  call(call: Call): Promise<unknown>;
  /** All in one write. In a Cluster their keys are in one slot. An error is the result of its command. */
  batch(calls: readonly Call[]): Promise<readonly unknown[]>;
  /** The reply to INFO of each server that takes writes. */
  infos(): Promise<readonly string[]>;
  /** Settles when the connection is lost; with the last error, if there was one. */
  readonly ended: Promise<unknown>;
  close(): void;
}

/** How long a connection may take to be made, and each command before it is ready. */
const connectWithinMs = 1_000;
/** And all of that together, whatever ioredis waits for. */
const openWithinMs = 10_000;
/** How long a connection that is closed may take for its last replies. */
const closeWithinMs = 300;

const noRetry = () => null;

/** Opens a connection. @throws the error of Redis or of the network; of reading a secret; the signal's reason */
export async function openClient(settings: RedisSettings, waiting: Waiting): Promise<RedisClient> {
  // Loaded only where Redis is configured.
  const { AbstractConnector, Cluster, Redis } = await import('ioredis');
  hearAllErrors(AbstractConnector);
  const { place } = settings;
  switch (place.kind) {
    case 'single': {
      const url = parseRedisUrl(await place.readUrl());
      const options = await commonOptions(settings, url);
      return opened(new Redis({ ...options, host: url.host, port: url.port, retryStrategy: noRetry }), waiting);
    }
    case 'sentinel': {
      const { sentinels, sentinelUsername: username, readSentinelPassword: readPassword } = place;
      const options = { ...(await commonOptions(settings)), ...(await sentinelOptions(settings, place)) };
      const asClient = { place, tls: settings.tls, username, readPassword };
      return explained(opened(new Redis(options), waiting), { servers: sentinels, settings: asClient }, waiting);
    }
    case 'cluster': {
      const client = new Cluster([...place.nodes], clusterOptions(await commonOptions(settings)));
      return explained(opened(client, waiting), { servers: place.nodes, settings }, waiting);
    }
  }
}

const listened = Symbol('a stream whose errors are all heard');

/**
 * ioredis listens for one error of a stream. A TLS socket that was destroyed, because its certificate is not trusted, may have another one: the
 * alert of the server. An error that nobody listens for would end the process. So every stream that a connector makes gets a listener.
 */
function hearAllErrors({ prototype }: typeof AbstractConnector): void {
  if (Object.hasOwn(prototype, 'stream')) return;
  Object.defineProperty(prototype, 'stream', {
    get(this: { [listened]?: Duplex }) {
      return this[listened];
    },
    set(this: { [listened]?: Duplex }, stream: Duplex | undefined) {
      stream?.on('error', () => {}); // The first one is told by ioredis.
      if (stream) this[listened] = stream;
    },
  });
}

async function commonOptions(settings: RedisSettings, url?: ParsedUrl) {
  const username = settings.username ?? url?.username;
  const password = (await settings.readPassword?.()) ?? url?.password;
  const database = settings.database ?? url?.database;
  const ca = await settings.tls?.readCa?.();
  const isTls = settings.tls !== undefined || url?.isTls === true;
  return {
    protocol: 2,
    lazyConnect: true,
    enableOfflineQueue: false,
    // Its reply is read by us, which also tells which policy evicts keys; and ioredis would write a warning to the console.
    enableReadyCheck: false,
    disableClientInfo: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: connectWithinMs,
    // For what ioredis sends itself. Commands have a shorter limit of their own.
    commandTimeout: connectWithinMs,
    disconnectTimeout: closeWithinMs,
    keepAlive: 5_000,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(database !== undefined && { db: database }),
    ...(isTls && { tls: ca === undefined ? {} : { ca } }),
  } satisfies RedisOptions;
}

type SentinelPlace = RedisSettings['place'] & { readonly kind: 'sentinel' };

async function sentinelOptions({ tls }: RedisSettings, place: SentinelPlace) {
  const { sentinels, name, sentinelUsername, readSentinelPassword } = place;
  const sentinelPassword = await readSentinelPassword?.();
  const ca = await tls?.readCa?.();
  return {
    sentinels: [...sentinels],
    name,
    retryStrategy: noRetry,
    sentinelRetryStrategy: noRetry,
    sentinelCommandTimeout: connectWithinMs,
    ...(sentinelUsername !== undefined && { sentinelUsername }),
    ...(sentinelPassword !== undefined && { sentinelPassword }),
    ...(tls !== undefined && { enableTLSForSentinelMode: true, sentinelTLS: ca === undefined ? {} : { ca } }),
  } satisfies RedisOptions;
}

/** Servers that are asked one by one, and who asks. */
interface Asked {
  readonly servers: readonly HostPort[];
  readonly settings: RedisSettings;
}

/** ioredis keeps to itself why no Sentinel, or no node of a Cluster, answered. Each is then asked once more, to learn it. */
async function explained(
  opening: Promise<RedisClient>,
  { servers, settings }: Asked,
  waiting: Waiting,
): Promise<RedisClient> {
  try {
    return await opening;
  } catch (cause) {
    if (failureOf(cause) !== 'connect' || (cause instanceof Error && 'code' in cause)) throw cause;
    const options = await commonOptions(settings);
    const faults = await Promise.all(servers.map((server) => faultOf(server, options, waiting)));
    throw faults.find((fault) => fault !== undefined && failureOf(fault) !== 'connect') ?? cause;
  }
}

/** Why one server does not answer. Undefined: it does. */
async function faultOf(
  { host, port }: HostPort,
  options: Awaited<ReturnType<typeof commonOptions>>,
  waiting: Waiting,
): Promise<unknown> {
  const { Redis } = await import('ioredis');
  try {
    const client = await opened(new Redis({ ...options, host, port, retryStrategy: noRetry }), waiting);
    await client.call({ command: 'PING', args: [] }).finally(() => client.close());
    return undefined;
  } catch (fault) {
    return fault;
  }
}

function clusterOptions(redisOptions: Omit<RedisOptions, 'replyMapping'>) {
  return {
    redisOptions,
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: noRetry,
    slotsRefreshTimeout: connectWithinMs,
    slotsRefreshInterval: 2_000,
    // A command that cannot be sent fails at once; whoever sent it goes on without Redis.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    maxRedirections: 4,
    // Names reach TLS as they are, which checks them against the certificate.
    dnsLookup: (host, callback) => callback(null, host),
  } satisfies ClusterOptions;
}

/** Connects. @throws the error that says why it failed, where ioredis says only that the connection is closed. */
async function opened(client: Redis | Cluster, { signal }: Waiting): Promise<RedisClient> {
  const { promise: ended, resolve } = Promise.withResolvers<unknown>();
  let lastError: unknown;
  const remember = (error: unknown): void => {
    lastError = error;
  };
  client.on('error', remember);
  client.on('node error', remember);
  client.on('end', () => resolve(lastError));
  try {
    // A Cluster that lacks a server ends without telling the promise of `connect`.
    const connected = Promise.race([client.connect().then(() => true), ended.then(() => false)]);
    const isConnected = await abortable(connected, AbortSignal.any([signal, AbortSignal.timeout(openWithinMs)]));
    if (!isConnected) throw new RedisUnavailable('unready', { cause: lastError });
  } catch (cause) {
    client.disconnect();
    throw rootOf(lastError ?? cause);
  }
  lastError = undefined;
  return {
    ended,
    call: ({ command, args, isBinary }) =>
      isBinary === true ? client.callBuffer(command, ...args) : client.call(command, ...args),
    batch: (calls) => batchOf(client, calls),
    infos: () => Promise.all(mastersOf(client).map((server) => server.info())),
    close: () => client.disconnect(),
  };
}

function mastersOf(client: Redis | Cluster): readonly Redis[] {
  return 'nodes' in client ? client.nodes('master') : [client];
}

/** ioredis tells why all nodes of a Cluster failed in the error of the last one. */
function rootOf(error: unknown): unknown {
  return error instanceof Error && 'lastNodeError' in error ? (error.lastNodeError ?? error) : error;
}

async function batchOf(client: Redis | Cluster, calls: readonly Call[]): Promise<readonly unknown[]> {
  const pipeline = client.pipeline();
  for (const { command, args } of calls) pipeline.call(command, ...args);
  const results = (await pipeline.exec()) ?? [];
  return results.map(([error, reply]) => error ?? reply);
}
