import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../src/oci/digest.ts';
import { ociManifest } from '../../src/oci/media-types.ts';
import { ask } from './client.ts';
import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import { type Content, content, descriptorOf, type Image, randomBlob } from './images.ts';
import { pullAll } from './pull.ts';
import { ScriptedFiles } from './scripted-files.ts';
import { type Replaced, type RunningApp, startApp } from './start-app.ts';
import { type MirrorConfig, mirrorOf } from './start-mirror.ts';

export const kib = 1024;

/** What manifests and configs may add to a store that is full of layers. */
export const smallThings = 64 * kib;

export const layer = (name: string, size = 256 * kib): Content => randomBlob(size, name);

/** An image over these layers, which other images may have too. */
export function imageOver(name: string, ...layers: readonly Content[]): Image {
  const config = content('application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify({ name })));
  const parts = { config: descriptorOf(config), layers: layers.map(descriptorOf) };
  const manifest = { schemaVersion: 2, mediaType: ociManifest, ...parts };
  return {
    manifest: content(ociManifest, Buffer.from(JSON.stringify(manifest))),
    children: [],
    blobs: [config, ...layers],
  };
}

export const imageOf = (name: string): Image => imageOver(name, layer(`${name} 0`), layer(`${name} 1`));

export interface Started {
  readonly app: RunningApp;
  readonly upstream: FakeRegistry;
  /** Makes an image known upstream, under the name of its repository. */
  readonly publish: (repository: string, image: Image) => void;
  /** Pulls it all, a moment after whatever was done before. */
  readonly pull: (repository: string) => Promise<void>;
}

export async function started(
  storage: MirrorConfig,
  files = new ScriptedFiles(),
  replaced: Replaced = {},
): Promise<Started> {
  const upstream = await startFakeRegistry();
  const app = await startApp(mirrorOf(upstream, { storage: { minFree: '0B', ...storage } }), { ...replaced, files });
  return {
    app,
    upstream,
    publish: (repository, image) => upstream.content.add(repository, '1', image),
    pull: async (repository) => {
      app.clock.advance(1_000);
      await pullAll(app, repository, '1');
      await app.quiet();
    },
  };
}

export async function bytesOnDisk(path: string): Promise<number> {
  const sizes = ['blobs/sha256', 'incoming', 'set-aside'].map(async (folder) => {
    const entries = await readdir(join(path, folder), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const found = await Promise.all(files.map((file) => stat(file).catch(() => ({ size: 0 }))));
    return found.reduce((sum, { size }) => sum + size, 0);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Whether these are still kept: a HEAD is a hit only then, and counts as no use. */
export async function areKept(
  { app }: Started,
  repository: string,
  contents: readonly Content[],
): Promise<readonly boolean[]> {
  const answers = contents.map(async ({ digest, mediaType }) => {
    const kind = mediaType === ociManifest ? 'manifests' : 'blobs';
    return (await ask(app, `/v2/${repository}/${kind}/${digest}`, { method: 'HEAD' })).cache === 'hit';
  });
  return Promise.all(answers);
}

export const timesFetched = ({ upstream }: Started, digest: Digest): number =>
  upstream.requests.filter(({ method, path }) => method === 'GET' && path.endsWith(digest)).length;
