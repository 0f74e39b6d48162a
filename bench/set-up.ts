import { join } from 'node:path';
import { pullManifest } from './clients/manifests.ts';
import { startReaders } from './clients/readers.ts';
import { blobUrl, manifestUrl, type Site } from './contenders/contender.ts';
import { startProxy, startUpstream } from './contenders/distribution.ts';
import { startKoa } from './contenders/koa.ts';
import { startLayerwell } from './contenders/layerwell.ts';
import { startNginx } from './contenders/nginx.ts';
import { startZot } from './contenders/zot.ts';
import { putImage } from './images.ts';
import type { Processors } from './processors.ts';
import { present, type Stage } from './scenarios/stage.ts';
import type { Tools } from './tools.ts';

export interface SetUp {
  readonly tools: Tools;
  readonly program: string;
  readonly folder: string;
  readonly searchPath: string;
  readonly runs: number;
  /** Undefined: servers and clients share all. */
  readonly processors: Processors | undefined;
  readonly signal: AbortSignal;
}

/** Starts every server, the upstream first, and pulls one image through the caches. Disposing ends them in reverse order. */
export async function setUpStage({
  tools,
  program,
  folder,
  searchPath,
  runs,
  processors,
  signal,
}: SetUp): Promise<Stage & AsyncDisposable> {
  await using servers = new AsyncDisposableStack();
  const unpinned = (name: string): Site => ({ tools, program, folder: join(folder, name), searchPath, signal });
  const site = (name: string): Site => ({ ...unpinned(name), ...(processors && { pinnedBy: processors.forServers }) });
  const readers = servers.use(startReaders());
  const upstream = servers.use(await startUpstream(unpinned('upstream')));
  const warmImage = await putImage(upstream.folder, 'warm');
  const proxy = servers.use(await startProxy(site('proxy'), upstream.url));
  const nginx = servers.use(await startNginx(site('nginx'), upstream.folder, warmImage));
  const koa = servers.use(await startKoa(site('koa'), upstream.folder, warmImage));
  const layerwell = servers.use(await startLayerwell(site('layerwell'), upstream.url));
  const zot = tools.zot === undefined ? undefined : servers.use(await startZot(site('zot'), tools.zot, upstream.url));
  for (const cache of present([proxy, zot, layerwell])) {
    await pullManifest(manifestUrl(cache, warmImage, 'tag'), signal);
    await readers.check({ url: blobUrl(cache, warmImage), clients: 1, digest: warmImage.layer.digest, signal });
    await pullManifest(blobUrl(cache, warmImage, warmImage.small.digest), signal);
  }
  const running = servers.move();
  const dispose = () => running.disposeAsync();
  const started = { readers, upstream, proxy, layerwell, zot, nginx, koa };
  return { tools, ...started, warmImage, runs, site, signal, [Symbol.asyncDispose]: dispose };
}
