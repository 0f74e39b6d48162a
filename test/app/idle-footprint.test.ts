import { copyFile, cp, readFile, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { run } from '../support/processes.ts';
import { get } from '../support/pull.ts';
import { mirrorOf, type RunningMirror, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

async function processorSeconds(mirror: RunningMirror): Promise<number> {
  const fields = (await readFile(`/proc/${mirror.pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
}

/** sysconf(_SC_CLK_TCK), on every Linux there is. */
const clockTicksPerSecond = 100;

async function residentMiB(mirror: RunningMirror): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${mirror.pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** As it is shipped: without what Node needs to run TypeScript. @returns the file to run. */
async function builtProgram(): Promise<string> {
  const folder = await temporaryDirectory();
  await run('npx', ['tsc', '-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')]);
  const assets = 'http/management/pages/assets';
  await cp(join('src', assets), join(folder, 'dist', assets), { recursive: true });
  await copyFile('package.json', join(folder, 'package.json'));
  await symlink(resolve('node_modules'), join(folder, 'node_modules'));
  return join(folder, 'dist', 'main.js');
}

/** A new pod finds nothing compiled. */
const compilingAll = { NODE_DISABLE_COMPILE_CACHE: '1' };

test.runIf(process.platform === 'linux')(
  'the shipped mirror is ready after less than two seconds of CPU time, and uses less than 130 MiB when idle',
  async () => {
    const upstream = await startFakeRegistry();
    const mirror = await startMirror(mirrorOf(upstream), { program: await builtProgram(), env: compilingAll });
    expect(await get({ url: mirror.managementUrl }, '/readyz')).toMatchObject({ status: 200 });
    // CPU time, not wall-clock time: other tests run beside this one.
    expect(await processorSeconds(mirror)).toBeLessThan(2);
    expect(await residentMiB(mirror)).toBeLessThan(130);
  },
);
