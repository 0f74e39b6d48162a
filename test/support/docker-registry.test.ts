import { expect, test } from 'vitest';
import { dockerManifest } from '../../src/oci/media-types.ts';
import { startDockerRegistry } from './docker-registry.ts';
import { artifact, emptyBlobArtifact, image, multiPlatformImage, referrerOf } from './images.ts';
import { pushImage } from './push.ts';
import { describeWithTools } from './tools.ts';

describeWithTools(['docker-registry', 'htpasswd'], 'docker-registry', () => {
  test('a real registry accepts every kind of content that the tests push', async () => {
    const registry = await startDockerRegistry();
    const plain = image();
    const kinds = {
      index: multiPlatformImage(),
      docker: image({ format: 'docker' }),
      zstd: image({ compression: 'zstd' }),
      sha512: image({ algorithm: 'sha512' }),
      artifact: artifact(),
      empty: emptyBlobArtifact(),
    };
    for (const [tag, one] of Object.entries(kinds)) await pushImage(registry.url, 'kinds', tag, one);
    await pushImage(registry.url, 'kinds', 'signed', plain, { referrers: [referrerOf(plain.manifest)] });
    const listed = await fetch(`${registry.url}/v2/kinds/tags/list`);
    const tags = [...Object.keys(kinds), plain.manifest.digest.replace(':', '-'), 'signed'];
    expect(await listed.json()).toEqual({ name: 'kinds', tags: expect.arrayContaining(tags) });
    expect(await registry.seen()).toContainEqual({ method: 'PUT', sentBytes: 0, path: '/v2/kinds/manifests/zstd' });
  });

  test('a real registry with a password has its content again after a restart', async () => {
    const registry = await startDockerRegistry({ user: { name: 'u', password: 'p' } });
    const authorization = `Basic ${btoa('u:p')}`;
    await pushImage(registry.url, 'app', '1', image({ format: 'docker' }), { authorization });
    await registry.stop();
    await expect(fetch(registry.url)).rejects.toThrow('fetch failed');
    await registry.start();
    expect((await fetch(`${registry.url}/v2/app/manifests/1`)).status).toBe(401);
    expect(
      (await fetch(`${registry.url}/v2/app/manifests/1`, { headers: { authorization, accept: dockerManifest } }))
        .status,
    ).toBe(200);
  });
});
