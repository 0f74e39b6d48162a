import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { expect, onTestFinished, test } from 'vitest';
import { exportImages, type ExportOptions } from '../../src/commands/archives/export.ts';
import { importImages, type ImportOptions } from '../../src/commands/archives/import.ts';
import { layoutIndexOf } from '../../src/oci/image-layout.ts';
import { exported, imported } from '../support/archive.ts';
import { descriptorOf, image, multiPlatformImage } from '../support/images.ts';
import { startWithJobs, type WithJobs } from '../support/start-jobs.ts';
import { tar } from '../support/tar.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const mib = 1024 * 1024;
const large = image({ layers: 3, layerBytes: 8 * mib });
const archive = tar({
  'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
  'index.json': layoutIndexOf([{ ...descriptorOf(large.manifest), name: 'docker.io/library/large:1' }]),
  ...Object.fromEntries(
    [large.manifest, ...large.blobs].map(({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes]),
  ),
});

function printed() {
  const told = { out: '', error: '' };
  const print = (text: string) => void (told.out += text);
  const printError = (text: string) => void (told.error += text);
  return { told, common: { file: '/nowhere', env: {}, columns: undefined, json: false, print, printError } };
}

const at = ({ app, tokenFile }: WithJobs) => ({ server: app.managementUrl, tokenFile });

async function runExport(mirror: WithJobs, options: Pick<ExportOptions, 'stop'> & Partial<ExportOptions>) {
  const { told, common } = printed();
  const wanted = { images: ['large:1'], platforms: [], referrers: true, output: undefined, stdout: undefined };
  return { code: await exportImages({ ...common, ...wanted, ...at(mirror), ...options }), ...told };
}

async function runImport(mirror: WithJobs, options: Pick<ImportOptions, 'stop' | 'stdin'>) {
  const { told, common } = printed();
  const wanted = { archive: undefined, names: [], isPublic: false };
  return { code: await importImages({ ...common, ...wanted, ...at(mirror), ...options }), ...told };
}

const incomingOf = ({ app }: WithJobs) => readdir(join(app.dataDirectory, 'incoming'));

test('Ctrl-C in the middle of an import ends it with 130; nothing of it is left half written, and its place is free', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  for (let round = 0; round < 5; round += 1) {
    const interrupt = new AbortController();
    const half = async function* () {
      yield archive.subarray(0, 12 * mib);
      await expect.poll(() => incomingOf(mirror)).not.toEqual([]);
      interrupt.abort();
      await new Promise(() => {});
    };
    const stdin = () => Readable.from(half(), { objectMode: false });
    expect(await runImport(mirror, { stop: interrupt.signal, stdin })).toMatchObject({ code: 130, out: '' });
    await expect.poll(() => incomingOf(mirror)).toEqual([]);
  }
  expect((await imported(mirror, archive)).body).toMatchObject({ images: [{ blobs: 4 }] });
});

test('Ctrl-C in the middle of an export ends it with 130, leaves no file, and gives its place back', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  await imported(mirror, archive);
  const folder = await temporaryDirectory();
  for (let round = 0; round < 5; round += 1) {
    const interrupt = new AbortController();
    const stdout = () =>
      new Writable({
        write: () => interrupt.abort(), // It takes nothing more.
      });
    expect(await runExport(mirror, { stop: interrupt.signal, stdout })).toMatchObject({ code: 130 });
  }
  const interrupt = new AbortController();
  const columns = () => {
    interrupt.abort(); // Its progress is shown: it is in the middle.
    return 80;
  };
  const toFile = { output: join(folder, 'layout.tar'), columns };
  expect(await runExport(mirror, { stop: interrupt.signal, ...toFile })).toMatchObject({ code: 130 });
  expect(await readdir(folder)).toEqual([]);
  expect((await exported(mirror, { images: ['large:1'] })).byteLength).toBeGreaterThan(24 * mib);
});

test('a fifth import at the same time is refused: the command says why, and ends with 1', async () => {
  const mirror = await startWithJobs();
  const headers = { authorization: `Bearer ${mirror.token}`, 'content-type': 'application/x-tar' };
  const held = Array.from({ length: 4 }, () => {
    const arriving = request(`${mirror.app.managementUrl}/api/v1/import`, { method: 'POST', headers });
    arriving.on('error', () => {}).write(archive.subarray(0, 4 * mib));
    onTestFinished(() => void arriving.destroy());
    return arriving;
  });
  await expect.poll(async () => (await incomingOf(mirror)).length).toBe(4);
  const { signal: stop } = new AbortController();
  const stdin = () => Readable.from([archive], { objectMode: false });
  const refused = await runImport(mirror, { stop, stdin });
  expect(refused).toMatchObject({ code: 1, out: '', error: expect.stringContaining('4 imports run already') });
  held[0]?.destroy();
  await expect.poll(async () => (await runImport(mirror, { stop, stdin })).code).toBe(0);
});

test('an export has the platforms that it is asked for, and a platform that is not cached is refused', async () => {
  const mirror = await startWithJobs();
  const index = multiPlatformImage();
  mirror.hub.content.add('library/both', '1', index);
  await mirror.done('warm', { images: ['both:1'], platforms: ['all'] });
  const [amd64, arm64] = index.children;
  const has = (tarred: Buffer, one: typeof amd64) => tarred.includes(`blobs/${one?.digest.replace(':', '/')}`);
  const of = (platforms: readonly string[]) => exported(mirror, { images: ['both:1'], platforms });
  const only = await of(['linux/arm64']);
  expect([has(only, amd64), has(only, arm64)]).toEqual([false, true]);
  const all = await of(['all']);
  expect([has(all, amd64), has(all, arm64)]).toEqual([true, true]);
  await expect(of(['linux/s390x'])).rejects.toThrow(/404.*linux\/s390x: the image has no such platform/);
});
