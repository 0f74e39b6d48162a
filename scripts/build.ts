/**
 * Compiles src/, copies the files that pages are made with, and points `dist` at the result. Runs as `npm run build`, and before every `npm start`. Each build has its own folder,
 * named after the hash of its sources, and `dist` is a symbolic link that is replaced atomically. So a process that starts during a build
 * loads one complete build, and unchanged sources are not compiled again.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, glob, lstat, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';

const folderPrefix = 'dist-';
/** The folder name of an incomplete build contains this. */
const unfinished = 'unfinished-';
/** A process that was started from an older build may still load modules from it. */
const buildsKept = 3;
const abandonedAfterMs = 3_600_000;
/** Files of src/ that are used as they are. */
const assets = ['src/**/assets/*.{css,js,svg}'];

async function build(root: string): Promise<void> {
  const name = `${folderPrefix}${await hashOfSources(root)}`;
  if (!existsSync(join(root, name))) await compile(root, name);
  await pointDistAt(root, name);
  await removeOldBuilds(root, name);
}

async function hashOfSources(root: string): Promise<string> {
  const hash = createHash('sha256');
  const patterns = [...assets, 'src/**/*.ts', 'tsconfig*.json', 'package-lock.json'];
  const files = await Array.fromAsync(glob(patterns, { cwd: root }));
  for (const file of files.toSorted()) hash.update(`${file}\0`).update(await readFile(join(root, file)));
  return hash.digest('hex').slice(0, 16);
}

/** If two builds of the same sources run at the same time, the first to finish is used. */
async function compile(root: string, name: string): Promise<void> {
  const folder = await mkdtemp(join(root, `${folderPrefix}${unfinished}`));
  try {
    await runCompiler(root, folder);
    for await (const file of glob(assets, { cwd: root })) {
      await cp(join(root, file), join(folder, relative('src', file)));
    }
    await rename(folder, join(root, name)).catch((cause: unknown) => {
      if (!existsSync(join(root, name))) throw cause;
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** @throws Error when the sources do not compile; the compiler has printed the reason. */
async function runCompiler(root: string, outDir: string): Promise<void> {
  const compiler = spawn('tsc', ['-p', 'tsconfig.build.json', '--outDir', outDir], { cwd: root, stdio: 'inherit' });
  const [exitCode]: unknown[] = await once(compiler, 'exit');
  if (exitCode !== 0) throw new Error('src/ does not compile');
}

async function pointDistAt(root: string, name: string): Promise<void> {
  const dist = join(root, 'dist');
  const link = join(root, `${folderPrefix}${unfinished}link-${process.pid}`);
  await symlink(name, link);
  const former = await lstat(dist).catch(() => undefined);
  if (former?.isDirectory()) await rm(dist, { recursive: true }); // An older version of this script built into `dist` itself.
  await rename(link, dist);
}

async function removeOldBuilds(root: string, current: string): Promise<void> {
  const names = (await readdir(root)).filter((name) => name.startsWith(folderPrefix) && name !== current);
  const builds = await Promise.all(
    names.map(async (name) => ({
      name,
      madeAtMs: (await stat(join(root, name)).catch(() => undefined))?.mtimeMs ?? 0,
    })),
  );
  const isAbandoned = ({ name, madeAtMs }: (typeof builds)[number]): boolean =>
    name.startsWith(`${folderPrefix}${unfinished}`) && Date.now() - madeAtMs > abandonedAfterMs;
  const former = builds
    .filter(({ name }) => !name.startsWith(`${folderPrefix}${unfinished}`))
    .toSorted((a, b) => b.madeAtMs - a.madeAtMs);
  const old = [...former.slice(buildsKept - 1), ...builds.filter(isAbandoned)];
  await Promise.all(old.map(({ name }) => rm(join(root, name), { recursive: true, force: true })));
}

await build(resolve(process.argv[2] ?? join(import.meta.dirname, '..')));
