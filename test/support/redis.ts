import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RedisSettings } from '../../src/cluster/redis/settings.ts';
import { type CertificateFiles, makeCertificateFiles } from './certificate-files.ts';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { run, StartedProcess } from './processes.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { tool } from './tools.ts';

/** The programs of these servers, for `describeWithTools`. */
export const redisTools = ['redis-server', 'redis-cli'];

export interface RedisOptions {
  readonly port?: number;
  /** Lines of its configuration, such as `maxmemory 1mb`. */
  readonly config?: readonly string[];
  /** Only a user of its ACL may connect, written as in `user`, such as `layerwell on >password ~* +@all`. */
  readonly user?: string;
  /** Serves TLS instead of plain connections. */
  readonly tls?: CertificateFiles;
  readonly owner?: Owner;
}

/** A real redis-server on 127.0.0.1, without anything on disk that it would load again. */
export class TestRedis {
  readonly port: number;
  readonly folder: string;
  readonly #options: RedisOptions;
  #process: StartedProcess | undefined;

  constructor(port: number, folder: string, options: RedisOptions) {
    this.port = port;
    this.folder = folder;
    this.#options = options;
  }

  get url(): string {
    return `redis${this.#options.tls ? 's' : ''}://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** To connect to it without user and password. */
  get settings(): RedisSettings {
    return { place: { kind: 'single', readUrl: () => Promise.resolve(this.url) } };
  }

  /** Starts it, or starts it again: empty. */
  async start(): Promise<void> {
    const { config = [], user, tls } = this.#options;
    const lines = [
      'bind 127.0.0.1',
      `dir ${this.folder}`,
      'save ""',
      'appendonly no',
      'protected-mode no',
      ...(tls
        ? ['port 0', `tls-port ${this.port}`, `tls-cert-file ${tls.certFile}`, `tls-key-file ${tls.keyFile}`]
        : [`port ${this.port}`]),
      ...(tls ? ['tls-auth-clients no'] : []),
      ...(user === undefined ? [] : ['user default off', `user ${user}`]),
      ...config,
    ];
    this.#process = new StartedProcess(tool('redis-server'), lines.flatMap(asArguments));
    await this.#process.waitUntil(({ output }) => output.includes('Ready to accept connections'), 10_000);
  }

  /** What `redis-cli` prints. */
  async ask(...command: readonly string[]): Promise<string> {
    const { stdout } = await run(tool('redis-cli'), ['-p', String(this.port), ...command]);
    return stdout.trim();
  }

  /** It hangs: connections are accepted, nothing is answered. */
  pause(): void {
    this.#process?.send('SIGSTOP');
  }

  resume(): void {
    this.#process?.send('SIGCONT');
  }

  async flush(): Promise<void> {
    await this.ask('FLUSHALL');
  }

  /** Its memory is full from now on: writes are refused. */
  async fill(): Promise<void> {
    await this.ask('EVAL', `return redis.call('SET', 'ballast', string.rep('x', 2 * 1024 * 1024))`, '0');
    await this.ask('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    await this.ask('CONFIG', 'SET', 'maxmemory', '1mb');
  }

  async empty(): Promise<void> {
    await this.ask('CONFIG', 'SET', 'maxmemory', '0');
  }

  async kill(): Promise<void> {
    this.#process?.send('SIGCONT');
    await this.#process?.stop({ signal: 'SIGKILL' });
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }
}

/** Starts a server that its owner ends. */
export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const owner = options.owner ?? thisTest;
  const redis = new TestRedis(options.port ?? (await freePort()), await temporaryDirectory(owner), options);
  owner(() => redis.kill());
  await redis.start();
  return redis;
}

/** A server with TLS. */
export async function startTlsRedis(
  options: Omit<RedisOptions, 'tls'> = {},
): Promise<{ readonly redis: TestRedis; readonly caFile: string }> {
  const folder = await temporaryDirectory(options.owner);
  const tls = await makeCertificateFiles(folder, 'redis');
  return { redis: await startRedis({ ...options, tls }), caFile: tls.certFile };
}

export interface Sentinels {
  readonly settings: RedisSettings;
  readonly servers: readonly TestRedis[];
  /** The server that takes writes, as the Sentinels say. */
  primary(): Promise<TestRedis>;
}

/**
 * A primary, a replica and three Sentinels, which make the replica the primary after 1 s without the other.
 * @param password of the Sentinels, if they have one
 */
export async function startSentinels(owner: Owner = thisTest, password?: string): Promise<Sentinels> {
  const primary = await startRedis({ owner });
  const replica = await startRedis({ owner, config: [`replicaof 127.0.0.1 ${primary.port}`] });
  const servers = [primary, replica];
  const ports = await Promise.all([1, 2, 3].map(() => startSentinel(primary.port, owner, password)));
  const name = 'layers';
  const login = password === undefined ? [] : ['-a', password, '--no-auth-warning'];
  const readSentinelPassword = password === undefined ? undefined : () => Promise.resolve(password);
  const ask = (port: number, ...command: readonly string[]) =>
    run(tool('redis-cli'), ['-p', String(port), ...login, ...command]).then(({ stdout }) => stdout.trim());
  await until(async () => (await ask(ports[0] ?? 0, 'SENTINEL', 'MASTER', name)).includes('num-other-sentinels\n2'));
  await until(async () => (await ask(ports[0] ?? 0, 'SENTINEL', 'MASTER', name)).includes('num-slaves\n1'));
  return {
    settings: {
      place: {
        kind: 'sentinel',
        name,
        sentinels: ports.map((port) => ({ host: '127.0.0.1', port })),
        readSentinelPassword,
      },
    },
    servers,
    primary: async () => {
      const [, port] = (await ask(ports[0] ?? 0, 'SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name)).split('\n');
      return servers.find((server) => server.port === Number(port)) ?? primary;
    },
  };
}

async function startSentinel(primaryPort: number, owner: Owner, password: string | undefined): Promise<number> {
  const port = await freePort();
  const folder = await temporaryDirectory(owner);
  const file = join(folder, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    'protected-mode no',
    `sentinel monitor layers 127.0.0.1 ${primaryPort} 2`,
    'sentinel down-after-milliseconds layers 1000',
    'sentinel failover-timeout layers 3000',
    ...(password === undefined ? [] : [`requirepass ${password}`]),
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  const process = new StartedProcess(tool('redis-server'), [file, '--sentinel']);
  owner(async () => void (await process.stop({ signal: 'SIGKILL' })));
  await process.waitUntil(({ output }) => output.includes('+monitor'), 10_000);
  return port;
}

export interface RedisCluster {
  readonly settings: RedisSettings;
  readonly nodes: readonly TestRedis[];
}

/** Three primaries without replicas. */
export async function startRedisCluster(owner: Owner = thisTest): Promise<RedisCluster> {
  const nodes = await Promise.all(
    [1, 2, 3].map(async () => {
      // The port for other nodes is by default one that outgoing connections may have taken.
      const config = ['cluster-enabled yes', 'cluster-node-timeout 2000', `cluster-port ${await freePort()}`];
      return startRedis({ owner, config });
    }),
  );
  const places = nodes.map(({ port }) => `127.0.0.1:${port}`);
  await run(tool('redis-cli'), ['--cluster', 'create', ...places, '--cluster-replicas', '0', '--cluster-yes']);
  for (const node of nodes) await until(async () => (await node.ask('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  return {
    settings: { place: { kind: 'cluster', nodes: nodes.map(({ port }) => ({ host: '127.0.0.1', port })) } },
    nodes,
  };
}

async function until(isSo: () => Promise<boolean>, withinMs = 15_000): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!(await isSo())) {
    if (Date.now() > endMs) throw new Error('the servers of Redis are not ready');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** `maxmemory 1mb` as arguments of the program. */
function asArguments(line: string): readonly string[] {
  const [key = '', ...values] = line.split(' ');
  return [`--${key}`, ...values.map((value) => (value === '""' ? '' : value))];
}
