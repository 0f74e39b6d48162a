import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, readlink, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temp-directory.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** A checkout with a program of many files, which says "whole" when it could load all of them. */
async function checkout(): Promise<string> {
  const folder = await temporaryDirectory();
  for (const name of ['tsconfig.json', 'tsconfig.build.json', 'package.json', 'package-lock.json'])
    await cp(join(root, name), join(folder, name));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
  await mkdir(join(folder, 'src'));
  await writeProgram(folder, 'first');
  return folder;
}

async function writeProgram(folder: string, version: string): Promise<void> {
  const names = Array.from({ length: 40 }, (_, index) => `part${index}`);
  for (const name of names)
    await writeFile(join(folder, 'src', `${name}.ts`), `export const ${name} = '${version}';\n`);
  const imports = names.map((name) => `import { ${name} } from './${name}.ts';`);
  const check = `const versions = new Set([${names.join(', ')}]);\nconsole.log(versions.size === 1 ? 'whole' : 'mixed');`;
  await writeFile(join(folder, 'src', 'main.ts'), `${imports.join('\n')}\n${check}\n`);
}

async function build(folder: string): Promise<void> {
  const path = `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`;
  await run(process.execPath, [join(root, 'scripts/build.ts'), folder], { env: { ...process.env, PATH: path } });
}

async function start(folder: string): Promise<string> {
  const child = spawn(process.execPath, [join(folder, 'dist/main.js')]);
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (printed += text.toString()));
  await once(child, 'close');
  return printed.trim();
}

test('a process that starts during a build loads one complete build', async () => {
  const folder = await checkout();
  await build(folder);
  let isBuilding = true;
  const builds = (async () => {
    for (const version of ['second', 'third']) {
      await writeProgram(folder, version);
      await Promise.all([build(folder), build(folder)]);
    }
    isBuilding = false;
  })();
  const starts: string[] = [];
  while (isBuilding) starts.push(await start(folder));
  await builds;
  expect(starts.length).toBeGreaterThan(3);
  expect(new Set(starts)).toEqual(new Set(['whole']));
});

test('unchanged sources are not compiled again, and old builds are removed', async () => {
  const folder = await checkout();
  await build(folder);
  const first = await readlink(join(folder, 'dist'));
  const marker = join(folder, first, 'marker');
  await writeFile(marker, '');
  await build(folder);
  expect(await readdir(join(folder, first))).toContain('marker');
  for (const version of ['second', 'third', 'fourth']) {
    await writeProgram(folder, version);
    await build(folder);
  }
  const builds = (await readdir(folder)).filter((name) => name.startsWith('dist-'));
  expect(builds).toHaveLength(3);
  expect(builds).not.toContain(first);
  expect(builds).toContain(await readlink(join(folder, 'dist')));
});

test('npm prints errors only: an older Node that just runs it is not warned of each package', async () => {
  const { stdout } = await run('npm', ['config', 'get', 'loglevel'], { cwd: root });
  expect(stdout.trim()).toBe('error');
});

test('files that pages are made with are part of a build, and a change of one is a new build', async () => {
  const folder = await checkout();
  const assets = join(folder, 'src/http/assets');
  await mkdir(assets, { recursive: true });
  await writeFile(join(assets, 'style.css'), 'first');
  await build(folder);
  const first = await readlink(join(folder, 'dist'));
  await writeFile(join(assets, 'style.css'), 'second');
  await build(folder);
  expect(await readFile(join(folder, 'dist/http/assets/style.css'), 'utf8')).toBe('second');
  expect(await readFile(join(folder, first, 'http/assets/style.css'), 'utf8')).toBe('first');
});
