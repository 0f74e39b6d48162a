import { resolve } from 'node:path';
import { InstalledFiles } from '../../clients/installed-files.ts';
import { type ClientFile, clientConfiguration, type DrivenClient } from '../../clients/kinds.ts';
import { innermostReason } from '../api/client.ts';
import { containerdNotes } from './client.ts';
import { type FoundMirror, reachedMirror, type ReachedMirrorChoice } from './reached-mirror.ts';

export interface AdviceOptions extends ReachedMirrorChoice {
  readonly folder?: string | undefined;
  readonly root: string;
}

const answersWithinMs = 3_000;

/** Why a client may not ask the mirror, as far as this machine shows it, and what to do: one sentence each. */
export async function adviceFor(client: DrivenClient, options: AdviceOptions): Promise<readonly string[]> {
  const mirror = await reachedMirror(options).catch((cause: unknown) => innermostReason(cause));
  if (typeof mirror === 'string') return [`(not looked for a reason: ${mirror})`];
  const root = resolve(options.root);
  const { files, next } = clientConfiguration(client, mirror, options.folder);
  const missing = await missingIn(files, new InstalledFiles(root), mirror);
  const written = `layerwell client ${client} --write`;
  return [
    ...(await reachability(mirror)),
    ...missing.map((path) => `${path} does not name the mirror at ${mirror.url}: ${written}`),
    ...(missing.length === 0 ? [`its files name the mirror: has it read them? (${next})`] : []),
    ...(client === 'containerd' ? await containerdNotes({ root, folder: options.folder ?? folderOf(files) }) : []),
  ];
}

async function reachability({ url }: FoundMirror): Promise<readonly string[]> {
  try {
    const { status } = await fetch(`${url}/v2/`, { signal: AbortSignal.timeout(answersWithinMs), redirect: 'manual' });
    return status === 200 ? [] : [`${url}/v2/ answers ${status}: it is not the mirror`];
  } catch (cause) {
    return [`${url} does not answer from here: ${innermostReason(cause)}`];
  }
}

/** Of a client with a file for each registry, the first that does not name the mirror stands for all. */
async function missingIn(
  wanted: readonly ClientFile[],
  files: InstalledFiles,
  { url }: FoundMirror,
): Promise<readonly string[]> {
  for (const { path } of wanted) {
    const found = await files.find(path);
    if (found.kind !== 'file' || !found.text.includes(new URL(url).host)) return [path];
  }
  return [];
}

function folderOf(files: readonly ClientFile[]): string {
  return files[0]?.path.split('/').slice(0, -2).join('/') ?? '/';
}
