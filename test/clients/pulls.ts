import { expect, onTestFailed, test } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import type { Image, Referrer } from '../support/images.ts';
import { pushImage } from '../support/push.ts';
import { type MirrorConfig, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import type { Client, Pulled } from './client.ts';

/** Puts something into the real registry that is the upstream. @returns the digest its tag then has. */
export type Publish = (upstream: DockerRegistry, as: Pulled) => Promise<string>;

export function pushed(image: Image, referrers: readonly Referrer[] = []): Publish {
  return async ({ url }, { repository, tag }) => {
    await pushImage(url, repository, tag, image, { referrers });
    return image.manifest.digest;
  };
}

export interface Setting {
  /** Makes the client, pointed at the mirror as its users would. */
  readonly connect: (mirror: RunningMirror) => Promise<Client>;
  /** The upstream's name; the mirror's default upstream is docker.io. */
  readonly registry?: string;
  readonly as?: Pulled;
  /** What is pulled, each under the name of its kind. */
  readonly kinds: Readonly<Record<string, Publish>>;
}

/** What every client is promised, whatever it pulls. */
export function testPulls(setting: Setting): void {
  test.each(Object.keys(setting.kinds))(
    'pulls %s once from the upstream, and then from the mirror alone',
    async (kind) => {
      const { upstream, mirror, client, as, digest } = await prepared(setting, kind);
      expect(await client.pull(as)).toBe(digest);
      expect(new Set((await upstream.downloads()).values())).toEqual(new Set([1]));
      const asked = (await upstream.seen()).length;
      const served = await blobsServedBy(mirror);

      await client.forget();
      expect(await client.pull(as)).toBe(digest);
      expect(await upstream.seen()).toHaveLength(asked);
      expect(await blobsServedBy(mirror)).toBeGreaterThan(served);
    },
  );

  test.each(Object.keys(setting.kinds))(
    'pulls %s while the upstream is down, though its tag has to be revalidated',
    async (kind) => {
      const { upstream, mirror, client, as, digest } = await prepared(setting, kind, { freshness: { tag: '0s' } });
      expect(await client.pull(as)).toBe(digest);

      await upstream.stop();
      await client.forget();
      expect(await client.pull(as)).toBe(digest);
      expect((await mirror.metrics()).sum('layerwell_stale_served_total')).toBeGreaterThan(0);
    },
  );
}

async function prepared(setting: Setting, kind: string, more: MirrorConfig = {}) {
  const { connect, registry = 'docker.io', as = { repository: 'library/app', tag: '1' }, kinds } = setting;
  const upstream = await startDockerRegistry();
  const nowhere = { url: 'http://127.0.0.1:9' };
  const upstreams = { 'docker.io': nowhere, [registry]: { url: upstream.url } };
  const mirror = await startMirror({ defaultUpstream: 'docker.io', upstreams, ...more });
  onTestFailed(() => {
    process.stderr.write(
      `the mirror's log:\n${mirror
        .logLines()
        .map((line) => JSON.stringify(line))
        .join('\n')}\n`,
    );
  });
  const client = await connect(mirror);
  const digest = (await kinds[kind]?.(upstream, as)) ?? '';
  await upstream.forgetSeen();
  return { upstream, mirror, client, as, digest };
}

async function blobsServedBy(mirror: RunningMirror): Promise<number> {
  return (await mirror.metrics()).sum('layerwell_http_requests_total', { kind: 'blob', method: 'GET', code: '200' });
}
