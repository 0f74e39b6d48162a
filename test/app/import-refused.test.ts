import { request } from 'node:http';
import { expect, test } from 'vitest';
import { layoutIndexOf } from '../../src/oci/image-layout.ts';
import { imported } from '../support/archive.ts';
import { ask } from '../support/client.ts';
import { descriptorOf, image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { ScriptedFiles } from '../support/scripted-files.ts';
import { startWithJobs, type WithJobs } from '../support/start-jobs.ts';
import { tar } from '../support/tar.ts';

const layout = '{"imageLayoutVersion":"1.0.0"}';
const built = image({ layers: 2 });
const contents = [built.manifest, ...built.blobs];
const fileOf = ({ digest }: { readonly digest: string }) => `blobs/${digest.replace(':', '/')}`;

function filesOf(name = 'docker.io/library/nginx:1'): Record<string, string | Uint8Array> {
  return {
    'oci-layout': layout,
    'index.json': layoutIndexOf([{ ...descriptorOf(built.manifest), name }]),
    ...Object.fromEntries(contents.map((one) => [fileOf(one), one.bytes])),
  };
}

const servedOf = async ({ app }: WithJobs) => (await ask(app, '/v2/library/nginx/manifests/1')).status;

/** An archive of which one header is changed; its checksum is summed again. */
function changed(archive: Buffer, change: (header: Buffer) => void): Buffer {
  const header = archive.subarray(0, 512);
  change(header);
  header.write(' '.repeat(8), 148);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return archive;
}

test('the order of the files of an archive does not matter', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  const reversed = Object.fromEntries(Object.entries(filesOf()).toReversed());
  const { status, body } = await imported(mirror, tar(reversed));
  expect([status, body]).toMatchObject([200, { images: [{ image: 'docker.io/library/nginx:1', blobs: 3 }] }]);
  expect(await servedOf(mirror)).toBe(200);
});

test('a folder of an archive that claims to have bytes has none, and does not hold the import', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  const folder = changed(tar({ 'blobs/': '' }).subarray(0, 512), (header) => {
    header.write('00000001000', 124); // In octal.
    header.write('5', 156);
  });
  for (let round = 0; round < 5; round += 1)
    expect(await imported(mirror, Buffer.concat([folder, tar(filesOf())]))).toMatchObject({ status: 200 });
  expect(await servedOf(mirror)).toBe(200);
});

test('an archive that is not a layout is refused with the reason, and nothing of it is served', async () => {
  const mirror = await startWithJobs({ config: { storage: { maxSize: '1GiB' } } });
  await mirror.hub.stop();
  const { 'index.json': index = '', ...rest } = filesOf();
  const wrong = { ...filesOf(), [fileOf(built.blobs[0] ?? built.manifest)]: 'other bytes' };
  const archives: [Buffer, number, RegExp][] = [
    [tar({ '../../etc/passwd': 'x' }), 422, /no file "\.\.\/\.\.\/etc\/passwd"/],
    [tar({ '/oci-layout': layout }), 422, /no file/],
    [tar({ 'blobs/sha256/short': 'x' }), 422, /no file/],
    [changed(tar({ 'oci-layout': '' }), (header) => header.write('2', 156)), 422, /no symlink/],
    [changed(tar({ 'index.json': '' }), (header) => header.write('1', 156)), 422, /no link/],
    [tar(wrong), 422, /the bytes of sha256:\w+ are those of sha256:/],
    [tar(rest), 422, /index\.json is missing/],
    [tar({ ...rest, 'index.json': '{"manifests":[{}]}' }), 422, /no image index/],
    [tar({ 'index.json': index }), 422, /oci-layout is missing/],
    [Buffer.concat([tar({ 'oci-layout': layout }).subarray(0, 1024), tar({ 'oci-layout': layout })]), 422, /twice/],
    [tar(filesOf()).subarray(0, 3_000), 422, /no tar, or ends too early/],
    [Buffer.alloc(2_000, 'x'), 422, /no tar/],
    [tar({ ...rest, 'index.json': Buffer.alloc(1024 * 1024 + 1) }), 422, /index\.json has more than/],
    [changed(tar({ [fileOf(built.manifest)]: 'x' }), (header) => header.write('77777777777\0', 124)), 503, /no room/],
  ];
  for (const [archive, status, detail] of archives) {
    const answer = await imported(mirror, archive);
    expect([answer.status, answer.body['detail']]).toEqual([status, expect.stringMatching(detail)]);
    expect(await servedOf(mirror)).not.toBe(200);
  }
  expect((await imported(mirror, tar(filesOf()))).status).toBe(200);
  expect(await servedOf(mirror)).toBe(200);
});

test('an archive whose bytes are wrong is refused although the right ones are stored, and these stay', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  expect((await imported(mirror, tar(filesOf()))).status).toBe(200);
  for (const one of contents) {
    const wrong = Buffer.alloc(one.bytes.length, 'x');
    for (const bytes of [wrong, wrong.subarray(1)]) {
      const { status, body } = await imported(mirror, tar({ ...filesOf(), [fileOf(one)]: bytes }));
      const why = expect.stringMatching(`the bytes of ${one.digest} are those of sha256:`);
      expect([status, body['detail']]).toEqual([422, why]);
    }
  }
  const { status, body } = await imported(mirror, tar(filesOf()));
  expect([status, body]).toMatchObject([200, { written: 0, present: contents.length }]);
  expect(await servedOf(mirror)).toBe(200);
  for (const { digest, bytes } of built.blobs)
    expect((await ask(mirror.app, `/v2/library/nginx/blobs/${digest}`)).body.equals(bytes)).toBe(true);
});

test('an image that the archive has not whole, or that has no known place, is not served; the others are', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  const manifest = descriptorOf(built.manifest);
  const other = descriptorOf(image({ name: 'absent' }).manifest);
  const index = layoutIndexOf([
    { ...other, name: 'docker.io/library/absent:1' },
    { ...manifest, name: 'nginx' },
    { ...manifest, name: 'quay.test/app:1' },
    { ...manifest, name: 'docker.io/library/nginx:1' },
  ]);
  const { body } = await imported(mirror, tar({ ...filesOf(), 'index.json': index }), '?names=nginx=docker.io/a/b:2');
  expect(body['images']).toMatchObject([
    { problem: expect.stringMatching(/^the manifest .* is missing$/) },
    { image: 'docker.io/a/b:2', blobs: 3 },
    { problem: 'quay.test is no upstream of this mirror' },
    { image: 'docker.io/library/nginx:1', blobs: 3 },
  ]);
  expect((await ask(mirror.app, '/v2/a/b/manifests/2')).status).toBe(200);
  expect(await servedOf(mirror)).toBe(200);
});

test('a sender that leaves in the middle leaves only what is verified, and the next one completes it', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  const archive = tar(filesOf());
  const headers = { authorization: `Bearer ${mirror.token}`, 'content-type': 'application/x-tar' };
  const half = request(`${mirror.app.managementUrl}/api/v1/import`, { method: 'POST', headers });
  half.on('error', () => {});
  await new Promise((resolve) => half.write(archive.subarray(0, archive.length - 3_000), resolve));
  const left = new Promise((resolve) => half.once('close', resolve));
  half.destroy();
  await left;
  expect(await servedOf(mirror)).not.toBe(200);
  expect(await imported(mirror, archive)).toMatchObject({ status: 200, body: { images: [{ blobs: 3 }] } });
  expect(await servedOf(mirror)).toBe(200);
});

test('two imports of the same archive at the same time both succeed', async () => {
  const mirror = await startWithJobs();
  await mirror.hub.stop();
  const both = await Promise.all([imported(mirror, tar(filesOf())), imported(mirror, tar(filesOf()))]);
  expect(both.map(({ status }) => status)).toEqual([200, 200]);
  expect(await servedOf(mirror)).toBe(200);
});

test.each(['_tags', '_blobs'])(
  'an image of which the disk does not take the records in %s is no success, and the next import completes it',
  async (folder) => {
    const files = new ScriptedFiles();
    files.failWith = ({ operation, path }) => (operation === 'rename' && path.includes(folder) ? 'ENOSPC' : undefined);
    const mirror = await startWithJobs({ files });
    await mirror.hub.stop();
    const { status, body } = await imported(mirror, tar(filesOf()));
    const problem = 'the disk does not take its records now';
    expect([status, body]).toMatchObject([200, { images: [{ image: 'docker.io/library/nginx:1', problem }] }]);

    files.failWith = () => undefined;
    await expect
      .poll(async () => (await imported(mirror, tar(filesOf()))).body['images'])
      .toMatchObject([{ blobs: 3 }]);
    await mirror.app.restart();
    await pullAll(mirror.app, 'library/nginx', '1');
  },
);

test('an image that is told to be imported is served, also by a store that it fills', async () => {
  for (const kib of [52, 56, 60, 64, 68, 72]) {
    const mirror = await startWithJobs({ config: { storage: { maxSize: `${kib}KiB`, minFree: '0B' } } });
    await mirror.hub.stop();
    const { body } = await imported(mirror, tar(filesOf()));
    const isTold = !JSON.stringify(body).includes('"problem"');
    expect([kib, isTold, await servedOf(mirror)]).toEqual([kib, isTold, isTold ? 200 : 503]);
    await mirror.app.stop();
  }
});
