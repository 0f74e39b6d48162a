import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { multiPlatformImage } from '../support/images.ts';
import { pullAll } from '../support/pull.ts';
import { pushImage } from '../support/push.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'team/app';
const manifest = `/v2/${repository}/manifests`;

/** A real registry with an htpasswd file, and a mirror whose password lies in a file. */
async function start() {
  const user = { name: 'mirror', password: 'first' };
  const registry = await startDockerRegistry({ user });
  const held = multiPlatformImage();
  await pushImage(registry.url, repository, '1', held, { authorization: `Basic ${btoa('mirror:first')}` });
  await registry.forgetSeen();
  const passwordFile = join(await temporaryDirectory(), 'password');
  await writeFile(passwordFile, 'first\n');
  const entry = {
    url: registry.url,
    credentials: [{ kind: 'basic', username: 'mirror', passwordFile }],
    visibility: 'service',
    allowAnonymous: true,
  };
  const app = await startApp({ upstreams: { 'registry.test': entry }, freshness: { tag: '0s' } });
  const changePassword = (password: string) => registry.changePassword({ name: 'mirror', password });
  return { registry, held, app, passwordFile, changePassword };
}

describeWithTools(['docker-registry', 'htpasswd'], 'a real registry with an htpasswd file', () => {
  test('an image is pulled with the password, with one challenge', async () => {
    const { app, registry, held } = await start();

    expect((await pullAll(app, repository, '1')).digest).toBe(held.manifest.digest);

    const paths = (await registry.seen()).map(({ path }) => path);
    // The very first request learns what the registry wants.
    expect(paths.filter((path, index) => paths.indexOf(path) !== index)).toHaveLength(1);
  });

  test('a password that was changed on both sides is used from the next pull on', async () => {
    const { app, passwordFile, changePassword } = await start();
    await pullAll(app, repository, '1');

    await changePassword('second');
    await writeFile(passwordFile, 'second\n');

    expect((await ask(app, `${manifest}/1`)).cache).toContain('fwd-status=200');
  });

  test('a password that was changed at the registry only is tried once a minute, and cached content is served', async () => {
    const { app, registry, changePassword } = await start();
    await pullAll(app, repository, '1');
    await changePassword('second');
    await registry.forgetSeen();

    for (const tag of ['a', 'b', 'c']) expect((await ask(app, `${manifest}/${tag}`)).status).toBe(502);
    expect((await ask(app, `${manifest}/1`)).cache).toContain('stale');
    expect(await registry.seen()).toHaveLength(1);

    app.clock.advance(60_000);
    expect((await ask(app, `${manifest}/a`)).status).toBe(502);
    expect(await registry.seen()).toHaveLength(2);
  });

  test('ten concurrent pulls all succeed', async () => {
    const { app, held } = await start();

    const pulls = await Promise.all(Array.from({ length: 10 }, () => pullAll(app, repository, '1')));

    expect(new Set(pulls.map(({ digest }) => digest))).toEqual(new Set([held.manifest.digest]));
  });
});
