import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { cp, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { pruneFolder } from '../../scripts/prune-packages.ts';
import { accountKinds } from '../support/account-kinds.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { thisSuite } from '../support/owner.ts';
import { run } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

const root = resolve(import.meta.dirname, '../..');
const megabyte = 1_000_000;
const hour = 3_600_000;

interface LockedPackage {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
  /** On which machines it can be installed; absent: on all. */
  readonly cpu?: readonly string[];
  readonly os?: readonly string[];
  readonly libc?: readonly string[];
  readonly hasInstallScript?: boolean;
}

/** By folder. */
function lockedPackages(): Readonly<Record<string, LockedPackage>> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the format of npm
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  return packages;
}

/** The folders of the packages that the mirror needs to run. */
function productionPackages(): readonly string[] {
  return Object.entries(lockedPackages()).flatMap(([path, { dev, devOptional }]) =>
    path === '' || dev === true || devOptional === true ? [] : [path],
  );
}

/** The mirror with its packages as they are installed, beside one with pruned packages. */
async function installed(folder: string): Promise<void> {
  await mkdir(folder);
  await cp(join(root, 'src'), join(folder, 'src'), { recursive: true });
  await cp(join(root, 'package.json'), join(folder, 'package.json'));
  for (const path of productionPackages())
    await cp(join(root, path), join(folder, path), { recursive: true, filter: (from) => !from.endsWith('.map') });
}

async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = entries.filter((entry) => entry.isFile()).map((entry) => stat(join(entry.parentPath, entry.name)));
  return (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0);
}

/** Prints the modules that files of a folder name in the text and that Node does not find, as JSON. */
const missingModules = `
  import { createRequire, isBuiltin } from 'node:module';
  import { globSync, readFileSync } from 'node:fs';
  import { pathToFileURL } from 'node:url';
  const missing = [];
  for (const file of globSync('node_modules/**/*.{js,cjs,mjs}', { withFileTypes: true }).filter((one) => one.isFile()).map((one) => one.parentPath + '/' + one.name)) {
    const text = readFileSync(file, 'utf8');
    const url = pathToFileURL(file);
    const { resolve } = createRequire(url);
    const tries = [
      [/\\brequire\\(\\s*['"]([^'"]+)['"]\\s*\\)/g, (name) => resolve(name)],
      [/(?:\\bfrom|\\bimport\\(?)\\s*['"]([^'"]+)['"]/g, (name) => resolve(new URL(import.meta.resolve(name, url)).pathname)],
    ];
    for (const [named, find] of tries)
      for (const [, name] of text.matchAll(named)) {
        if (isBuiltin(name) || name.endsWith('.d.ts')) continue; // Types are named in comments only.
        try { find(name); } catch { missing.push(file + ' ' + name); }
      }
  }
  process.stdout.write(JSON.stringify(missing));
`;

async function missingIn(folder: string): Promise<readonly string[]> {
  const args = ['--experimental-import-meta-resolve', '--input-type=module', '--eval', missingModules];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder, maxBuffer: 100 * megabyte });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- printed above
  return JSON.parse(stdout) as string[];
}

describe('the packages in the image', () => {
  let whole = '';
  let pruned = '';
  const owner = thisSuite();
  beforeAll(async () => {
    const folder = await temporaryDirectory(owner);
    [whole, pruned] = [join(folder, 'whole'), join(folder, 'pruned')];
    await installed(whole);
    await cp(whole, pruned, { recursive: true });
    pruneFolder(join(pruned, 'node_modules'));
  });

  test('are less than 16 MB, without types, source maps, tests and documentation', async () => {
    expect(await sizeOf(join(pruned, 'node_modules'))).toBeLessThan(16 * megabyte);
    const files = globSync('node_modules/**/*', { cwd: pruned });
    expect(files.filter((file) => /\.(map|ts|mts|cts)$|\/(tests?|docs)\/./.test(file))).toEqual([]);
  });

  test('are the same on every architecture: none has native code, or builds some when it is installed', () => {
    expect(globSync('node_modules/**/*.{node,so,dylib,dll,a,o}', { cwd: whole })).toEqual([]);
    const of = lockedPackages();
    const special = productionPackages().filter((path) => {
      const { cpu, os, libc, hasInstallScript } = of[path] ?? {};
      return cpu ?? os ?? libc ?? hasInstallScript;
    });
    expect(special).toEqual([]);
  });

  test('keep the text of every licence', () => {
    const isLicence = (file: string) => /\/(licen[cs]e|notice)[^/]*$/i.test(file);
    const licences = (folder: string) => globSync('node_modules/**/*', { cwd: folder }).filter(isLicence).toSorted();
    expect(licences(pruned)).toEqual(
      licences(whole).filter((file) => !/\/(tests?|docs|benchmarks)\//.test(file) && !file.endsWith('.ts')),
    );
  });

  test('have every module that one of their files names', async () => {
    const [before, after] = await Promise.all([missingIn(whole), missingIn(pruned)]);
    const known = new Set(before);
    expect(after.filter((one) => !known.has(one))).toEqual([]);
  });

  test('are enough for credentials of every kind', async () => {
    const clock = new ManualClock(Date.now() + hour);
    const starts = Object.entries(accountKinds).map(async ([kind, start]) => ({ kind, ...(await start(clock)) }));
    const kinds = await Promise.all(starts);
    const upstreams = Object.fromEntries(kinds.map(({ kind, entry }) => [`${kind}.test`, entry]));
    const env: Record<string, string> = Object.assign({}, ...kinds.map((each) => each.env));
    const file = join(await temporaryDirectory(), 'mirror.config.json');
    await writeFile(file, JSON.stringify({ upstreams }));
    const args = ['src/main.ts', 'check', '--online', '--config', file];
    const { stdout } = await run(process.execPath, args, { cwd: pruned, env });
    for (const { kind } of kinds)
      expect(stdout).toMatch(new RegExp(`^${kind}\\.test +yes +as credentials\\[0\\]`, 'm'));
  });
});
