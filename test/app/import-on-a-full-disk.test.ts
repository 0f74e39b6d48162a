import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { layoutIndexOf } from '../../src/oci/image-layout.ts';
import { askApi } from '../support/api-answers.ts';
import { ask } from '../support/client.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { freePort } from '../support/free-port.ts';
import { descriptorOf, image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { tar } from '../support/tar.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const large = image({ layers: 4, layerBytes: 2_000_000 });
const archive = tar({
  'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
  'index.json': layoutIndexOf([{ ...descriptorOf(large.manifest), name: 'docker.io/large/app:1' }]),
  ...Object.fromEntries(
    [large.manifest, ...large.blobs].map(({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes]),
  ),
});
const token = 'a'.repeat(40);
const headers = { 'content-type': 'application/x-tar' };

const suite = (): void =>
  test('an import of more than the disk holds says what was evicted for the rest, nothing of it is served, and it completes when there is room', async () => {
    const disk = await temporaryDirectory();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'layerwell-test', disk]);
    onTestFinished(() => void execFileSync('umount', ['--lazy', disk]));
    const storage = { path: join(disk, 'data'), minFree: '0B' };
    const [port, tokenFile] = [await freePort(), join(await temporaryDirectory(), 'token')];
    await writeFile(tokenFile, token);
    const upstream = await startFakeRegistry();
    const management = { host: '127.0.0.1', port, tokenFile };
    const mirror = await startMirror(mirrorOf(upstream, { storage, management }));
    await upstream.stop();
    const api = { managementUrl: `http://127.0.0.1:${port}` };
    const bring = () => askApi(api, '/api/v1/import', { method: 'POST', token, headers, body: archive });

    const { status, body } = await bring();
    expect([status, body['images']]).toMatchObject([
      200,
      [{ problem: expect.stringMatching(/was evicted while the rest of the archive arrived/) }],
    ]);
    expect((await ask(mirror, '/v2/large/app/manifests/1')).status).not.toBe(200);

    execFileSync('mount', ['-o', 'remount,size=64m', disk]);
    expect((await bring()).body).toMatchObject({ images: [{ image: 'docker.io/large/app:1', blobs: 5 }] });
    expect((await pullAll(mirror, 'large/app', '1')).digest).toBe(large.manifest.digest);
  });

describeWithTools(['mount', 'umount'], 'a disk that fills up', suite, { asRoot: true });
