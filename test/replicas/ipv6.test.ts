import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { parseMetrics } from '../support/metrics.ts';
import { run } from '../support/processes.ts';
import { pullAll } from '../support/pull.ts';
import { redisTools, startRedis } from '../support/redis.ts';
import { type MirrorConfig, mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { describeWithTools } from '../support/tools.ts';
import { clusterSecret } from './harness/replicas.ts';

interface Ipv6Replica {
  readonly url: string;
  readonly managementUrl: string;
  readonly mirror: RunningMirror;
}

/** As the chart configures a pod whose only address is `::1`. */
async function startOnIpv6(config: MirrorConfig, redis: { readonly url: string }): Promise<Ipv6Replica> {
  const [port, managementPort, siblingPort] = [await freePort(), await freePort(), await freePort()];
  const mirror = await startMirror(
    {
      ...config,
      listen: { host: '::1', port },
      management: { host: '[::1]', port: managementPort },
      cluster: {
        redis: { url: redis.url },
        listen: { host: '[::]', port: siblingPort },
        advertise: `http://\${env:POD_IP}:${siblingPort}`,
        secret: clusterSecret,
      },
    },
    { env: { POD_IP: '::1' } },
  );
  return { mirror, url: `http://[::1]:${port}`, managementUrl: `http://[::1]:${managementPort}` };
}

async function sumOf({ managementUrl }: Ipv6Replica, name: string, labels = {}): Promise<number> {
  return parseMetrics(await (await fetch(`${managementUrl}/metrics`)).text()).sum(name, labels);
}

describeWithTools(
  redisTools,
  'two replicas with IPv6 addresses only',
  () => {
    test('the second reads every blob from the first, at the address that its pod has', async () => {
      const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
      const pushed = image({ layers: 2, layerBytes: 300_000 });
      upstream.content.add('library/app', 'latest', pushed);
      const replicas = [
        await startOnIpv6(mirrorOf(upstream), redis),
        await startOnIpv6(mirrorOf(upstream), redis),
      ] as const;
      for (const one of replicas) await expect.poll(() => sumOf(one, 'layerwell_cluster_replicas')).toBe(2);
      for (const one of replicas) {
        expect((await pullAll(one, 'library/app', 'latest')).digest).toBe(pushed.manifest.digest);
      }
      expect(upstream.seen('GET', /\/blobs\//)).toHaveLength(pushed.blobs.length);
      const fromFirst = await sumOf(replicas[1], 'layerwell_blob_source_bytes_total', { source: 'sibling' });
      expect(fromFirst).toBe(pushed.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0));
    });

    test('the log and the health check name the listeners by URLs that work', async () => {
      const [upstream, redis] = [await startFakeRegistry(), await startRedis()];
      const { mirror, url, managementUrl } = await startOnIpv6(mirrorOf(upstream), redis);
      expect(JSON.stringify(mirror.logLines().filter(({ msg }) => msg === 'listening'))).toContain(`"${url}"`);
      const health = await run(process.execPath, ['src/main.ts', 'health', '--config', mirror.configFile]);
      expect(health.stdout).toBe(`${managementUrl}/healthz: 200\n`);
    });
  },
  { ipv6: true },
);
