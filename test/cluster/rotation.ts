import { execFile } from 'node:child_process';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { until } from './cluster.ts';
import { type Release, secretOf } from './release.ts';
import { isReplicated, nothingFailed, type Scenario, seconds } from './scenario.ts';
import { secrets } from './shapes.ts';
import { namespace, type Stage } from './stage.ts';

const certificate = 'layerwell-tls';

export const rotations: readonly Scenario[] = [
  {
    key: 'certificate',
    name: 'Rotation of the TLS certificate',
    isFor: isReplicated,
    run: async (release) => {
      await applyCertificate(release.stage);
      await release.upgrade(tls);
      await release.allReady();
      const former = await servedSerials(release);
      let seenMs = 0;
      const pulls = await release.underLoad(
        async () => {
          await applyCertificate(release.stage);
          await touchPods(release);
          const isNew = async () => (await servedSerials(release)).every((serial) => !former.includes(serial));
          seenMs = await until('every replica serves the new certificate', isNew, {
            withinMs: 180_000,
            everyMs: 2_000,
          });
        },
        { scheme: 'https' },
      );
      await release.upgrade(noTls);
      await release.allReady();
      return { pulls, note: `served after ${seconds(seenMs)}, without a restart`, problems: nothingFailed(pulls) };
    },
  },
  {
    key: 'secret',
    name: 'Rotation of the secret of the replicas',
    isFor: isReplicated,
    run: async (release) => {
      const [former, next] = ['first-secret-of-the-replicas-0123456789', `next-secret-${'0123456789'.repeat(3)}`];
      const pulls = await release.underLoad(async () => {
        await applySecret(release.stage, { secret: former, previous: next });
        await release.upgrade({ cluster: { previousSecretKey: 'previous' }, podAnnotations: { rotation: 'both' } });
        await release.allReady();
        await applySecret(release.stage, { secret: next, previous: former });
        await release.upgrade({ podAnnotations: { rotation: 'changed' } });
        await release.allReady();
      });
      return {
        pulls,
        note: 'two upgrades: both secrets are accepted before the new one is used',
        problems: nothingFailed(pulls),
      };
    },
  },
];

const tls = { tls: { existingSecret: certificate } };
const noTls = { tls: { existingSecret: '' } };

async function applySecret(stage: Stage, data: Readonly<Record<string, string>>): Promise<void> {
  await stage.cluster.apply(JSON.stringify(secretOf(secrets.cluster, data)), namespace);
}

async function applyCertificate(stage: Stage): Promise<void> {
  await using temporary = await mkdtempDisposable(join(tmpdir(), 'layerwell-certificate-'));
  const [cert, key] = [join(temporary.path, 'tls.crt'), join(temporary.path, 'tls.key')];
  const subject = ['-subj', '/CN=layerwell', '-addext', 'subjectAltName=DNS:layerwell'];
  const made = ['-newkey', 'rsa:2048', '-nodes', '-days', '30', '-keyout', key, '-out', cert];
  await promisify(execFile)('openssl', ['req', '-x509', ...made, ...subject]);
  const data = { 'tls.crt': await readFile(cert, 'utf8'), 'tls.key': await readFile(key, 'utf8') };
  await stage.cluster.apply(JSON.stringify(secretOf(certificate, data)), namespace);
}

/** The kubelet looks at the volumes of a pod whenever the pod changes, and else once a minute. */
export async function touchPods(release: Release): Promise<void> {
  for (const pod of await release.pods()) {
    const touched = `touched=${Date.now()}`;
    await release.stage.cluster.kubectl(['annotate', 'pod', pod, touched, '--overwrite', '--namespace', namespace]);
  }
}

/** The serial numbers of the certificates of all replicas. */
async function servedSerials(release: Release): Promise<readonly string[]> {
  const { cluster } = release.stage;
  const addresses = (await release.pods()).map((pod) => cluster.read(`pod ${pod}`, '{.status.podIP}', namespace));
  const script = `
    const [host] = process.argv.slice(1);
    const socket = require('node:tls').connect({ host, port: 5000, rejectUnauthorized: false }, () => {
      console.log(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });`;
  const serialOf = async (address: Promise<string>) => release.stage.inClient(['node', '-e', script, await address]);
  return Promise.all(addresses.map(serialOf));
}
