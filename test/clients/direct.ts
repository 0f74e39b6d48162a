import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { digestOf } from '../../src/oci/digest.ts';
import { run } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { tool } from '../support/tools.ts';
import type { Client, Pulled } from './client.ts';

/** skopeo, which copies from the mirror as from any registry, all platforms of an image. */
export async function skopeoClient(host: string): Promise<Client> {
  const { place, forget } = await store();
  const settings = ['--insecure-policy', '--tmpdir', await temporaryDirectory()];
  return {
    forget,
    async pull({ repository, tag }: Pulled) {
      const from = `docker://${host}/${repository}:${tag}`;
      await run(tool('skopeo'), [...settings, 'copy', '--all', '--src-tls-verify=false', from, `dir:${place}`]);
      return digestOf(await readFile(join(place, 'manifest.json')));
    },
  };
}

/** crane, likewise. */
export async function craneClient(host: string): Promise<Client> {
  const { place, forget } = await store();
  return {
    forget,
    async pull({ repository, tag }: Pulled) {
      await run(tool('crane'), ['pull', '--format', 'oci', `${host}/${repository}:${tag}`, place]);
      return manifestIn(place, tag);
    },
  };
}

/** regctl, likewise, with everything that refers to an image. */
export async function regctlClient(host: string): Promise<Client> {
  const { place, forget } = await store();
  const call = await regctl(host);
  return {
    forget,
    async pull({ repository, tag }: Pulled) {
      await call('image', 'copy', '--referrers', `${host}/${repository}:${tag}`, `ocidir://${place}:${tag}`);
      return manifestIn(place, tag);
    },
  };
}

/** regctl with settings of its own, which say that `host` speaks plain HTTP. */
export async function regctl(host: string): Promise<(...args: string[]) => Promise<{ stdout: string }>> {
  const env = { REGCTL_CONFIG: join(await temporaryDirectory(), 'config.json') };
  return (...args) => run(tool('regctl'), ['--host', `reg=${host},tls=disabled`, ...args], { env });
}

const layoutIndex = z.object({
  manifests: z.array(z.object({ digest: z.string(), annotations: z.record(z.string(), z.string()).optional() })),
});

/** A folder for what is pulled, which `forget` empties. */
async function store(): Promise<{ readonly place: string; readonly forget: () => Promise<void> }> {
  const place = join(await temporaryDirectory(), 'pulled');
  await mkdir(place);
  return {
    place,
    async forget() {
      await rm(place, { recursive: true });
      await mkdir(place);
    },
  };
}

/** OCI image-spec, "Image Layout": the first manifest of the index that carries the tag, or the only one. */
async function manifestIn(layout: string, tag: string): Promise<string> {
  const { manifests } = layoutIndex.parse(JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')));
  const named = manifests.find(({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] === tag);
  return (named ?? manifests[0])?.digest ?? '';
}
