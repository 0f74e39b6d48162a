import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RedisSettings } from '../../src/cluster/redis/settings.ts';
import type { CertificateFiles } from './certificate-files.ts';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';
import { run, StartedProcess } from './processes.ts';
import { accessArguments, askRedis, portLines, type RedisLogin, startRedis, type TestRedis } from './redis.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { tool } from './tools.ts';

/** Who may connect to the servers, and how. */
export interface ServersOptions {
  readonly owner?: Owner;
  /** All speak TLS only, also with each other. */
  readonly tls?: CertificateFiles;
  /** Only this user may connect to the servers. */
  readonly login?: RedisLogin;
}

export interface Sentinels {
  readonly settings: RedisSettings;
  readonly servers: readonly TestRedis[];
  /** Of the Sentinels. */
  readonly ports: readonly number[];
  /** The server that takes writes, as the Sentinels say. */
  primary(): Promise<TestRedis>;
  /** Has them make the replica the primary, as before maintenance. @throws when they see no replica that could be it */
  failOver(): Promise<void>;
}

/** The name of the primary. */
const name = 'layers';

/**
 * A primary, a replica and three Sentinels, which make the replica the primary after 1 s without the other.
 * @param options.password of the Sentinels, if they have one
 */
export async function startSentinels(
  options: ServersOptions & { readonly password?: string } = {},
): Promise<Sentinels> {
  const { owner = thisTest, password, tls, login } = options;
  const toOthers = login ? [`masteruser ${login.username}`, `masterauth ${login.password}`] : [];
  const primary = await startRedis({ owner, tls, login, config: toOthers });
  const config = [...toOthers, `replicaof 127.0.0.1 ${primary.port}`];
  const replica = await startRedis({ owner, tls, login, config });
  const servers = [primary, replica];
  const ports = await Promise.all([1, 2, 3].map(() => startSentinel(primary.port, { ...options, owner })));
  const access = { tls, login: password === undefined ? undefined : { username: 'default', password } };
  const readSentinelPassword = password === undefined ? undefined : () => Promise.resolve(password);
  const ask = (...command: readonly string[]) => askRedis(ports[0] ?? 0, access, ['SENTINEL', ...command]);
  await until(async () => (await ask('MASTER', name)).includes('num-other-sentinels\n2'));
  await until(async () => (await ask('MASTER', name)).includes('num-slaves\n1'));
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
    ports,
    failOver: async () => {
      const answer = await ask('FAILOVER', name);
      if (answer !== 'OK') throw new Error(answer);
    },
    primary: async () => {
      const [, port] = (await ask('GET-MASTER-ADDR-BY-NAME', name)).split('\n');
      return servers.find((server) => server.port === Number(port)) ?? primary;
    },
  };
}

async function startSentinel(
  primaryPort: number,
  { owner, password, tls, login }: ServersOptions & { readonly owner: Owner; readonly password?: string },
): Promise<number> {
  const port = await freePort();
  const folder = await temporaryDirectory(owner);
  const file = join(folder, 'sentinel.conf');
  const lines = [
    ...portLines(port, tls),
    'bind 127.0.0.1',
    `dir ${folder}`,
    'protected-mode no',
    `sentinel monitor ${name} 127.0.0.1 ${primaryPort} 2`,
    `sentinel down-after-milliseconds ${name} 1000`,
    `sentinel failover-timeout ${name} 3000`,
    ...(login ? [`sentinel auth-user ${name} ${login.username}`, `sentinel auth-pass ${name} ${login.password}`] : []),
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
export async function startRedisCluster({ owner = thisTest, tls, login }: ServersOptions = {}): Promise<RedisCluster> {
  const nodes = await Promise.all(
    [1, 2, 3].map(async () => {
      // The port for other nodes is by default one that outgoing connections may have taken.
      const config = ['cluster-enabled yes', 'cluster-node-timeout 2000', `cluster-port ${await freePort()}`];
      return startRedis({ owner, tls, login, config: [...config, ...(tls ? ['tls-cluster yes'] : [])] });
    }),
  );
  const places = nodes.map(({ port }) => `127.0.0.1:${port}`);
  const made = ['--cluster', 'create', ...places, '--cluster-replicas', '0', '--cluster-yes'];
  await run(tool('redis-cli'), [...accessArguments({ tls, login }), ...made]);
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
