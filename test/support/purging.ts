import { globSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { askApi } from './api-answers.ts';
import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import type { Image } from './images.ts';
import { pullAll } from './pull.ts';
import { ScriptedFiles } from './scripted-files.ts';
import { type RunningApp, startApp } from './start-app.ts';
import { temporaryDirectory } from './temp-directory.ts';

export const token = 'a'.repeat(40);
export const nginx = 'library/nginx';
export const headers = { 'content-type': 'application/json' };

/** An app in front of a registry, with what purges ask of it. */
export interface PurgedApp {
  readonly app: RunningApp;
  readonly hub: FakeRegistry;
  readonly tokenFile: string;
  readonly publishAndPull: (repository: string, tag: string, image: Image) => Promise<void>;
  readonly purged: (body: object, how?: string) => ReturnType<typeof askApi>;
}

export async function startPurging(files = new ScriptedFiles()): Promise<PurgedApp> {
  const hub = await startFakeRegistry();
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const management = { host: '127.0.0.1', port: 0, tokenFile };
  const app = await startApp({ upstreams: { 'docker.io': { url: hub.url } }, management }, { files });
  return {
    app,
    hub,
    tokenFile,
    publishAndPull: async (repository, tag, built) => {
      hub.content.add(repository, tag, built);
      await pullAll(app, repository, tag);
      await app.quiet();
    },
    purged: (body, how = '') =>
      askApi(app, `/api/v1/purge${how}`, { method: 'POST', token, headers, body: JSON.stringify(body) }),
  };
}

/** What the index counts, which must be what the disk holds. */
export async function stored(app: RunningApp): Promise<{ readonly manifests: number; readonly blobs: number }> {
  const { storage } = Object((await askApi(app, '/api/v1/stats')).body);
  const { manifests, blobs } = storage;
  const files = globSync('blobs/**/*', { cwd: app.dataDirectory, withFileTypes: true }).filter(
    (one) => one.isFile() && /^[0-9a-f]{64}$/.test(one.name),
  );
  expect(files).toHaveLength(manifests + blobs);
  return { manifests, blobs };
}
