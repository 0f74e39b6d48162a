import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exportImages } from '../../src/commands/archives/export.ts';
import { importImages } from '../../src/commands/archives/import.ts';
import { image } from '../support/images.ts';
import { run } from '../support/processes.ts';
import { startWithJobs, type WithJobs } from '../support/start-jobs.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools, tool } from '../support/tools.ts';
import { startDockerd } from './dockerd.ts';

const published = image({ layers: 2 });
const reference = 'docker.io/library/app:1';

const common = {
  file: '/nowhere',
  env: {},
  columns: undefined,
  json: false,
  stop: new AbortController().signal,
  print: () => {},
  printError: () => {},
};
const at = ({ app, tokenFile }: WithJobs) => ({ ...common, server: app.managementUrl, tokenFile });

/** @returns the archive of an image that a mirror with a network has cached. */
async function exported(): Promise<string> {
  const source = await startWithJobs();
  source.hub.content.add('library/app', '1', published);
  await source.done('warm', { images: [reference] });
  const output = join(await temporaryDirectory(), 'layout.tar');
  const wanted = { images: [reference], platforms: [], referrers: true, output, stdout: undefined };
  expect(await exportImages({ ...at(source), ...wanted })).toBe(0);
  return output;
}

describeWithTools(
  ['dockerd', 'docker'],
  'an exported image',
  () =>
    test('is pulled by dockerd from a mirror that never had a network', async () => {
      const archive = await exported();
      const target = await startWithJobs();
      await target.hub.stop();
      const wanted = { archive, stdin: undefined, names: [], isPublic: false };
      expect(await importImages({ ...at(target), ...wanted })).toBe(0);
      const client = await startDockerd(target.app.url);
      expect(await client.pull({ repository: 'library/app', tag: '1' })).toBe(published.manifest.digest);
    }),
  { asRoot: true },
);

describeWithTools(['skopeo'], 'an exported image', () =>
  test('is read by skopeo as an archive', async () => {
    const { stdout } = await run(tool('skopeo'), ['inspect', `oci-archive:${await exported()}`]);
    expect(JSON.parse(stdout)).toMatchObject({ Digest: published.manifest.digest, Os: 'linux' });
  }),
);
