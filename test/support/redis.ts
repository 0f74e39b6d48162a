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
  /** Likewise, and `ask` is that user. */
  readonly login?: RedisLogin | undefined;
  /** Serves TLS instead of plain connections, also towards other servers. */
  readonly tls?: CertificateFiles | undefined;
  readonly owner?: Owner;
}

/** A user of an ACL that may do everything. */
export interface RedisLogin {
  readonly username: string;
  readonly password: string;
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
    const { config = [], login, tls } = this.#options;
    const user = login ? `${login.username} on >${login.password} ~* &* +@all` : this.#options.user;
    const lines = [
      'bind 127.0.0.1',
      `dir ${this.folder}`,
      'save ""',
      'appendonly no',
      'protected-mode no',
      ...portLines(this.port, tls),
      ...(user === undefined ? [] : ['user default off', `user ${user}`]),
      ...config,
    ];
    this.#process = new StartedProcess(tool('redis-server'), lines.flatMap(asArguments));
    await this.#process.waitUntil(({ output }) => output.includes('Ready to accept connections'), 10_000);
  }

  /** What `redis-cli` prints. */
  async ask(...command: readonly string[]): Promise<string> {
    return askRedis(this.port, this.#options, command);
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

/** Who is asked, and how. */
export type RedisAccess = Pick<RedisOptions, 'tls' | 'login'>;

/** What `redis-cli` prints. */
export async function askRedis(port: number, access: RedisAccess, command: readonly string[]): Promise<string> {
  const { stdout } = await run(tool('redis-cli'), ['-p', String(port), ...accessArguments(access), ...command]);
  return stdout.trim();
}

/** As arguments of `redis-cli`. */
export function accessArguments({ tls, login }: RedisAccess): readonly string[] {
  return [
    ...(tls ? ['--tls', '--cacert', tls.certFile] : []),
    ...(login ? ['--user', login.username, '--pass', login.password, '--no-auth-warning'] : []),
  ];
}

/** The configuration of the port of a server or a Sentinel. */
export function portLines(port: number, tls: CertificateFiles | undefined): readonly string[] {
  if (!tls) return [`port ${port}`];
  const { certFile, keyFile } = tls;
  return [
    'port 0',
    `tls-port ${port}`,
    `tls-cert-file ${certFile}`,
    `tls-key-file ${keyFile}`,
    `tls-ca-cert-file ${certFile}`,
    'tls-auth-clients no',
    'tls-replication yes',
  ];
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

/** `maxmemory 1mb` as arguments of the program. */
function asArguments(line: string): readonly string[] {
  const [key = '', ...values] = line.split(' ');
  return [`--${key}`, ...values.map((value) => (value === '""' ? '' : value))];
}
