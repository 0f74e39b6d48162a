import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startFakeRegistry } from './fake-registry.ts';
import { image } from './images.ts';
import { pullAll } from './pull.ts';
import { startApp } from './start-app.ts';
import { temporaryDirectory } from './temp-directory.ts';
import { Visitor } from './visitor.ts';

export const token = 'a'.repeat(40);

/** A mirror with pages, and a visitor of them who is not signed in. */
export async function startPages(management: object = {}) {
  const hub = await startFakeRegistry();
  hub.content.add('library/app', '1', image());
  hub.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '76;w=21600' };
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, `${token}\n`);
  const app = await startApp({
    upstreams: { 'docker.io': { url: hub.url }, '*.evil.test': {} },
    management: { host: '127.0.0.1', port: 0, tokenFile, ...management },
  });
  const managementUrl = `http://127.0.0.1:${new URL(app.managementUrl).port}`;
  return { app, hub, tokenFile, managementUrl, visitor: new Visitor(managementUrl) };
}

/** Signed in, with some images pulled. */
export async function startPagesWithImages() {
  const at = await startPages();
  for (const tag of ['1.0', '2.0', 'latest']) at.hub.content.add('library/nginx', tag, image({ name: tag }));
  for (const tag of ['1.0', '2.0', 'latest']) await pullAll(at.app, 'library/nginx', tag);
  await pullAll(at.app, 'library/app', '1');
  await at.app.quiet();
  await at.visitor.signIn(token);
  return at;
}
