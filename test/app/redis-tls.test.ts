import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type CertificateFiles, makeCertificateFiles } from '../support/certificate-files.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { randomBlob } from '../support/images.ts';
import { type Owner, thisSuite } from '../support/owner.ts';
import { pullBlob } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { startRedisCluster, startSentinels } from '../support/redis-servers.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { type MirrorConfig, mirrorOf } from '../support/start-mirror.ts';
import { clusterOf } from '../support/start-replicas.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const login = { username: 'layerwell', password: 'password-from-a-file' };
const repository = 'library/app';

interface Secured {
  readonly owner: Owner;
  readonly tls: CertificateFiles;
}

interface Kind {
  readonly name: string;
  /** Starts servers that speak TLS only, for one user. @returns the keys that say where they are */
  readonly start: (secured: Secured) => Promise<MirrorConfig>;
  /** The keys of the files with passwords. */
  readonly passwordFiles: readonly string[];
}

const kinds: readonly Kind[] = [
  {
    name: 'one server',
    start: async (secured) => ({ url: (await startRedis({ ...secured, login })).url }),
    passwordFiles: ['passwordFile'],
  },
  {
    name: 'Sentinels',
    start: async (secured) => {
      const { ports } = await startSentinels({ ...secured, login, password: login.password });
      return { sentinels: ports.map((port) => `127.0.0.1:${port}`), name: 'layers' };
    },
    passwordFiles: ['passwordFile', 'sentinelPasswordFile'],
  },
  {
    name: 'a Cluster',
    start: async (secured) => {
      const { nodes } = await startRedisCluster({ ...secured, login });
      return { nodes: nodes.map(({ port }) => `127.0.0.1:${port}`) };
    },
    passwordFiles: ['passwordFile'],
  },
];

/** Adds a new blob to the upstream, and pulls it from each app in turn. @returns how many requests the upstream got for it */
async function pulledByEach(upstream: FakeRegistry, apps: readonly RunningApp[]): Promise<number> {
  const blob = randomBlob(50_000, randomUUID());
  upstream.content.addBlob(repository, blob);
  upstream.forgetRequests();
  for (const app of apps) {
    await pullBlob(app, repository, blob.digest);
    await app.quiet();
  }
  return upstream.count('GET', /\/blobs\//);
}

async function redisOf(app: RunningApp): Promise<unknown> {
  const answer = await fetch(`${app.managementUrl}/readyz`);
  expect(answer.status).toBe(200);
  const body: unknown = await answer.json();
  return Object(body)['redis'];
}

describeWithTools(redisTools, 'Redis with TLS and a user of its ACL', () => {
  describe.each(kinds)('as $name', ({ start, passwordFiles }) => {
    const owner = thisSuite();
    let keys: MirrorConfig = {};
    let folder = '';
    let caFile = '';

    beforeAll(async () => {
      folder = await temporaryDirectory(owner);
      const tls = await makeCertificateFiles(folder, 'redis');
      caFile = tls.certFile;
      const passwordFile = join(folder, 'password');
      await writeFile(passwordFile, `${login.password}\n`);
      const passwords = Object.fromEntries(passwordFiles.map((key) => [key, passwordFile]));
      keys = { ...(await start({ owner, tls })), username: login.username, ...passwords };
    });

    async function startReplica(upstream: FakeRegistry, trusted: string, changed: MirrorConfig = {}) {
      const redis = { ...keys, tls: { caFile: trusted }, ...changed };
      const cluster = await clusterOf({ url: '' }, { redis });
      return startApp({ ...mirrorOf(upstream), index: { driver: 'redis', ...redis }, cluster });
    }

    test('two replicas keep their index there, and one of them downloads', async () => {
      const upstream = await startFakeRegistry();
      const apps = [await startReplica(upstream, caFile), await startReplica(upstream, caFile)];
      for (const app of apps) {
        const up = { cluster: { state: 'up' }, index: { state: 'up' } };
        await expect.poll(() => redisOf(app), { timeout: 20_000 }).toMatchObject(up);
      }
      await expect.poll(() => pulledByEach(upstream, apps), { timeout: 20_000 }).toBe(1);
    });

    test('a wrong CA is told in readyz and in the log, and the mirror serves', async () => {
      const other = await makeCertificateFiles(await temporaryDirectory(), 'another CA');
      const upstream = await startFakeRegistry();
      const app = await startReplica(upstream, other.certFile);
      const down = { state: 'down', reason: 'tls' };
      await expect.poll(() => redisOf(app), { timeout: 20_000 }).toMatchObject({ cluster: down, index: down });
      expect(await pulledByEach(upstream, [app])).toBe(1);
      const told = app.logLines.filter(({ msg, reason }) => msg === 'redis is down' && reason === 'tls');
      expect(new Set(told.map(({ connection }) => connection))).toEqual(new Set(['cluster', 'index']));
    });

    test.each(passwordFiles)('a wrong password in %s is told in readyz, and the mirror serves', async (key) => {
      const wrong = join(folder, 'wrong-password');
      await writeFile(wrong, 'wrong');
      const upstream = await startFakeRegistry();
      const app = await startReplica(upstream, caFile, { [key]: wrong });
      const down = { state: 'down', reason: 'auth' };
      await expect.poll(() => redisOf(app), { timeout: 20_000 }).toMatchObject({ cluster: down, index: down });
      expect(await pulledByEach(upstream, [app])).toBe(1);
    });
  });
});
