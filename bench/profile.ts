/**
 * Prints Layerwell's functions by self time while it serves one kind of request.
 *   node bench/profile.ts warm-manifest-tag | warm-blob | cold-1 | cold-10
 */
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { askRepeatedly, pullManifest } from './clients/manifests.ts';
import { type Readers, startReaders } from './clients/readers.ts';
import { blobUrl, type Contender, manifestUrl, type Site } from './contenders/contender.ts';
import { startUpstream } from './contenders/distribution.ts';
import { startLayerwell } from './contenders/layerwell.ts';
import { type Image, putImage } from './images.ts';
import { selfTimes } from './self-times.ts';
import { findTools } from './tools.ts';

const coldPulls = 6;
const shownFunctions = 30;

const [what = 'warm-manifest-tag'] = process.argv.slice(2);
const signal = AbortSignal.timeout(3 * 60_000);
const searchPath = process.env['PATH'] ?? '';
const tools = await findTools(searchPath);
await using work = await mkdtempDisposable(join(tmpdir(), 'layerwell-profile-'));
const site = (name: string): Site => ({
  tools,
  program: 'src/main.ts',
  folder: join(work.path, name),
  searchPath,
  signal,
});
await using readers = startReaders();
await using upstream = await startUpstream(site('upstream'));
const images: Image[] = [];
for (let i = 0; i < coldPulls; i++) images.push(await putImage(upstream.folder, `profile-${i}`));

const profileFolder = join(work.path, 'profile');
const startedAtMs = performance.now();
const span = await underProfile();
const [file = ''] = await readdir(profileFolder);
const profile: unknown = JSON.parse(await readFile(join(profileFolder, file), 'utf8'));
for (const { name, seconds, share } of selfTimes(profile, span).slice(0, shownFunctions)) {
  process.stdout.write(`${seconds.toFixed(2).padStart(7)} s ${(share * 100).toFixed(1).padStart(5)} %  ${name}\n`);
}

async function underProfile(): Promise<{ readonly fromMs: number; readonly toMs: number }> {
  const nodeFlags = ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`, '--cpu-prof-interval', '500'];
  await using layerwell = await startLayerwell(site('layerwell'), upstream.url, { nodeFlags });
  for (const image of images) await pullManifest(manifestUrl(layerwell, image, 'tag'), signal);
  const load = loadFor(layerwell, readers, images);
  const fromMs = performance.now() - startedAtMs;
  await load();
  return { fromMs, toMs: performance.now() - startedAtMs };
}

function loadFor(server: Contender, clients: Readers, [first, ...others]: readonly Image[]): () => Promise<unknown> {
  if (first === undefined) throw new Error('there is no image');
  const pull = (image: Image, count: number, times = 1) =>
    clients.pull({ url: blobUrl(server, image), size: image.layer.size, clients: count, times, signal });
  const pullEach = async (count: number) => {
    for (const image of others) await pull(image, count);
  };
  switch (what) {
    case 'warm-manifest-tag':
      return () => askRepeatedly(tools.wrk, { url: manifestUrl(server, first, 'tag'), seconds: 5, signal });
    case 'warm-blob':
      return async () => (await pull(first, 1), await pull(first, 2, 8));
    case 'cold-1':
      return () => pullEach(1);
    case 'cold-10':
      return () => pullEach(10);
    default:
      throw new Error(`unknown load: ${what}`);
  }
}
