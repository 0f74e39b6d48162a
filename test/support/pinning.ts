import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { askApi } from './api-answers.ts';
import { type Started, started } from './bounded-store.ts';
import type { Question } from './client.ts';
import type { Image } from './images.ts';
import { ScriptedFiles } from './scripted-files.ts';
import type { Replaced } from './start-app.ts';
import type { MirrorConfig } from './start-mirror.ts';
import { temporaryDirectory } from './temp-directory.ts';

const token = 'a'.repeat(40);
export const headers = { 'content-type': 'application/json' };

export async function startPinned(storage: MirrorConfig = {}, files = new ScriptedFiles(), replaced: Replaced = {}) {
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const begun = await started(storage, files, replaced);
  await begun.app.restart({ ...begun.app.config, management: { host: '127.0.0.1', port: 0, tokenFile } });
  const ask = (method: string, { query = '', ...more }: Question & { readonly query?: string } = {}) =>
    askApi(begun.app, `/api/v1/pins${query}`, { method, token, ...more });
  return {
    ...begun,
    tokenFile,
    pinned: (text: string) => ask('POST', { headers, body: JSON.stringify({ pin: text }) }),
    unpinned: (text: string) => ask('DELETE', { query: `?pin=${encodeURIComponent(text)}` }),
    listed: async () => Object((await ask('GET')).body),
  };
}

export async function publishAndPull({ publish, pull }: Started, repository: string, built: Image): Promise<void> {
  publish(repository, built);
  await pull(repository);
}

export type PinnedApp = Awaited<ReturnType<typeof startPinned>>;
