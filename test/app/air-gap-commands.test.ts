import { execFileSync } from 'node:child_process';
import { lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exportImages, type ExportOptions } from '../../src/commands/archives/export.ts';
import { importImages } from '../../src/commands/archives/import.ts';
import { freePort } from '../support/free-port.ts';
import { image } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { startWithJobs, type WithJobs } from '../support/start-jobs.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const at = ({ app, tokenFile }: WithJobs) => ({ server: app.managementUrl, tokenFile });

function printed() {
  const told = { out: '', error: '' };
  const print = (text: string) => void (told.out += text);
  const printError = (text: string) => void (told.error += text);
  const stop = new AbortController().signal;
  return { told, common: { file: '/nowhere', env: {}, columns: undefined, json: false, print, printError, stop } };
}

async function runExport(place: object, options: Partial<ExportOptions>) {
  const { told, common } = printed();
  const wanted = { images: ['nginx:1'], platforms: [], referrers: true, output: undefined, stdout: undefined };
  return { code: await exportImages({ ...common, ...wanted, ...place, ...options }), ...told };
}

async function runImport(place: object, archive: string) {
  const { told, common } = printed();
  const wanted = { archive, stdin: undefined, names: [], isPublic: false };
  const code = await importImages({ ...common, ...wanted, ...place });
  return { code, ...told };
}

test('the commands carry an image in a file from one mirror to another', async () => {
  const source = await startWithJobs();
  source.hub.content.add('library/nginx', '1', image());
  await source.done('warm', { images: ['nginx:1'] });
  const output = join(await temporaryDirectory(), 'layout.tar');
  expect(await runExport(at(source), { output })).toMatchObject({
    code: 0,
    error: expect.stringMatching(/^exported /),
  });
  const target = await startWithJobs();
  await target.hub.stop();
  const ran = await runImport(at(target), output);
  expect(ran).toMatchObject({
    code: 0,
    out: expect.stringContaining('docker.io/library/nginx:1  imported, 1 manifests'),
  });
  await pullAll(target.app, 'library/nginx', '1');
});

test('an export that fails leaves no file, and the exit code says why', async () => {
  const source = await startWithJobs();
  const folder = await temporaryDirectory();
  const output = join(folder, 'layout.tar');
  const stopped = AbortSignal.abort();
  expect(await runExport(at(source), { output })).toMatchObject({ code: 1, error: expect.stringContaining('warm') });
  expect(await runExport(at(source), {})).toMatchObject({ code: 1, error: expect.stringContaining('terminal') });
  expect(await runExport(at(source), { output, stop: stopped })).toMatchObject({ code: 130 });
  expect(await runExport({ server: source.app.managementUrl }, { output })).toMatchObject({ code: 4 });
  expect(await runExport({ server: `http://127.0.0.1:${await freePort()}` }, { output })).toMatchObject({ code: 3 });
  expect(await readdir(folder)).toEqual([]);
  await writeFile(output, 'no tar');
  expect(await runImport(at(source), output)).toMatchObject({
    code: 1,
    error: expect.stringMatching(/oci-layout|tar/),
  });
});

test('an export into a pipe or a device leaves it in its place, and one into a folder is refused', async () => {
  const source = await startWithJobs();
  source.hub.content.add('library/nginx', '1', image());
  await source.done('warm', { images: ['nginx:1'] });
  const folder = await temporaryDirectory();
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const archive = readFile(pipe);
  expect(await runExport(at(source), { output: pipe })).toMatchObject({ code: 0 });
  expect((await archive).toString('latin1', 0, 10)).toBe('oci-layout');
  expect((await lstat(pipe)).isFIFO()).toBe(true);
  expect(await runExport(at(source), { output: folder })).toMatchObject({
    code: 1,
    error: expect.stringContaining(`${folder} is a folder`),
  });
  expect(await readdir(folder)).toEqual(['pipe']);
});

test('an import of a file that cannot be read says so, and not that no mirror answers', async () => {
  const target = await startWithJobs();
  const folder = await temporaryDirectory();
  expect(await runImport(at(target), folder)).toMatchObject({ code: 1, error: expect.stringContaining('is a folder') });
  // The memory of this process, from address 0 on: it opens, and each read fails.
  expect(await runImport(at(target), '/proc/self/mem')).toMatchObject({
    code: 1,
    error: expect.stringMatching(/^\/proc\/self\/mem: EIO/),
  });
});
