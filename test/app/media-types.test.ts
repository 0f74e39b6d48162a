import { describe, expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { dockerManifest, dockerManifestList, ociIndex, ociManifest } from '../../src/oci/media-types.ts';
import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { content, descriptorOf, image } from '../support/images.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { mirrorOf } from '../support/start-mirror.ts';

const repository = 'library/app';
const built = image();

/** Unusual JSON: parsing and writing it again would change its digest. */
function oddly(mediaType: string, more: object): Buffer {
  const text = JSON.stringify({ mediaType, schemaVersion: 2, ...more, 'org.example.é': 1.0 }, null, 3);
  return Buffer.from(`  ${text.replaceAll('/', '\\/')}\r\n\n`);
}

const manifests = [descriptorOf(built.manifest)];
const [config, ...layers] = built.blobs.map(descriptorOf);
const types = [
  { mediaType: ociIndex, bytes: oddly(ociIndex, { manifests }) },
  { mediaType: ociManifest, bytes: oddly(ociManifest, { config, layers }) },
  { mediaType: dockerManifestList, bytes: oddly(dockerManifestList, { manifests }) },
  { mediaType: dockerManifest, bytes: oddly(dockerManifest, { config, layers }) },
  {
    mediaType: 'application/vnd.oci.artifact.manifest.v1+json',
    bytes: oddly('application/vnd.oci.artifact.manifest.v1+json', { blobs: layers }),
  },
  { mediaType: 'application/vnd.example.of.tomorrow.v9+json', bytes: Buffer.from('{"what": ["nobody", "knows"]}') },
];

async function started(
  mediaType: string,
  bytes: Buffer,
): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry();
  const manifest = content(mediaType, bytes);
  upstream.content.addManifest(repository, manifest);
  upstream.content.tag(repository, '1', manifest.digest);
  return { upstream, app: await startApp(mirrorOf(upstream)) };
}

/** By tag and by digest, from the upstream, from memory and from the disk. */
async function expectAsItCame(app: RunningApp, mediaType: string, bytes: Buffer): Promise<void> {
  const digest = digestOf(bytes);
  for (const where of ['upstream', 'memory', 'disk']) {
    if (where === 'disk') await app.restart();
    for (const reference of ['1', digest]) {
      for (const accept of ['*/*', ociManifest, 'text/plain']) {
        const answer = await ask(app, `/v2/${repository}/manifests/${reference}`, { headers: { accept } });
        expect(answer).toMatchObject({
          status: 200,
          headers: {
            'content-type': mediaType,
            'docker-content-digest': digest,
            'content-length': String(bytes.length),
          },
        });
        expect(answer.body.equals(bytes)).toBe(true);
      }
    }
  }
}

describe('the bytes and type of a manifest are stored exactly as received, whatever the client accepts', () => {
  test.each(types)('$mediaType', async ({ mediaType, bytes }) => {
    const { app } = await started(mediaType, bytes);
    await expectAsItCame(app, mediaType, bytes);
  });

  test('a type with a charset is stored without it', async () => {
    const bytes = Buffer.from('{"which": "claims no type"}');
    const { app } = await started(`${ociIndex}; charset=utf-8`, bytes);
    await expectAsItCame(app, ociIndex, bytes);
  });

  test.each([{ told: 'text/plain' }, { told: 'application/octet-stream' }])(
    'when the upstream sends $told, the mediaType of the manifest is used',
    async ({ told }) => {
      const bytes = oddly(ociManifest, { config, layers });
      const { app } = await started(told, bytes);
      await expectAsItCame(app, ociManifest, bytes);
    },
  );
});

test('a blob is served as application/octet-stream, whatever its manifest says', async () => {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', built);
  const app = await startApp(mirrorOf(upstream));
  for (const { digest } of built.blobs) {
    const { headers } = await ask(app, `/v2/${repository}/blobs/${digest}`);
    expect(headers['content-type']).toBe('application/octet-stream');
    expect(headers['content-encoding']).toBeUndefined();
  }
});
