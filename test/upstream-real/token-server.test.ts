import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ask } from '../support/client.ts';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { type Image, image } from '../support/images.ts';
import { type JwtServer, startJwtServer } from '../support/jwt-server.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { pullAll } from '../support/pull.ts';
import { pushImage } from '../support/push.ts';
import type { SourceRequest } from '../support/source.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';
import { selfSigned } from '../unit/upstream/certificates.ts';
import { systemClock } from '../../src/mirror/ports/clock.ts';

const repository = 'team/app';

interface Started {
  readonly app: RunningApp;
  readonly registry: DockerRegistry;
  readonly tokens: JwtServer;
  readonly held: Image;
  /** From now on this is the right secret, of which the mirror's side hears or not. */
  readonly changeSecret: (secret: string, options: { readonly isTold: boolean }) => Promise<void>;
}

/** A real registry behind a token server, and a mirror with credentials there. The registry looks at the machine's clock, and so do all. */
async function start(shownIn: (request: SourceRequest) => string | undefined, credentials: (file: string) => object) {
  const file = join(await temporaryDirectory(), 'secret');
  await writeFile(file, 'first');
  let accepted = 'first';
  const clock = new ManualClock(Date.now());
  const identity = await selfSigned('issuer');
  const tokens = await startJwtServer({
    identity,
    isLetIn: (request) => shownIn(request) === accepted,
    clock: systemClock,
  });
  const registry = await startDockerRegistry({ tokens: tokens.issuer });
  const held = image();
  const authorization = `Bearer ${tokens.tokenFor(repository, ['pull', 'push'])}`;
  await pushImage(registry.url, repository, '1', held, { authorization });
  const entry = entryOf(registry, tokens, credentials(file));
  const app = await startApp({ upstreams: { 'registry.test': entry }, freshness: { tag: '0s' } }, { clock });
  const started: Started = {
    app,
    registry,
    tokens,
    held,
    changeSecret: async (secret, { isTold }) => {
      accepted = secret;
      if (isTold) await writeFile(file, secret);
    },
  };
  return started;
}

const passwordIn = ({ headers }: SourceRequest) =>
  Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64')
    .toString()
    .split(':')[1];

const kinds = [
  {
    kind: 'basic',
    begin: () => start(passwordIn, (file) => ({ kind: 'basic', username: 'robot', passwordFile: file })),
  },
  {
    kind: 'bearer-token, at a server without POST',
    begin: () =>
      start(
        (request) => (request.method === 'GET' ? passwordIn(request) : undefined),
        (file) => ({ kind: 'bearer-token', tokenFile: file }),
      ),
  },
];

describeWithTools(['docker-registry'], 'a real registry behind a token server', () => {
  test.each(kinds)('$kind: an image is pulled with one token, which the registry accepts', async ({ begin }) => {
    const { app, tokens, held } = await begin();

    const { digest } = await pullAll(app, repository, '1');

    expect(digest).toBe(held.manifest.digest);
    expect(tokens.asked.filter(({ method }) => method === 'GET')).toHaveLength(1);
  });

  test.each(kinds)('$kind: its token is renewed before it expires', async ({ begin }) => {
    const { app, tokens } = await begin();
    await pullAll(app, repository, '1');

    app.clock.advance(280_000);

    expect((await ask(app, `/v2/${repository}/manifests/1`)).cache).toContain('fwd-status=200');
    expect(tokens.asked.filter(({ method }) => method === 'GET')).toHaveLength(2);
  });

  test.each(kinds)(
    '$kind: a rotated secret is used; a wrong one is tried once, and cached images stay available',
    async ({ begin }) => {
      const { app, tokens, changeSecret } = await begin();
      await pullAll(app, repository, '1');
      await changeSecret('second', { isTold: true });
      app.clock.advance(300_000);
      expect((await ask(app, `/v2/${repository}/manifests/1`)).cache).toContain('fwd-status=200');

      await changeSecret('third', { isTold: false });
      app.clock.advance(300_000);
      const before = tokens.asked.length;
      for (let nth = 0; nth < 5; nth++) {
        const { status, cache } = await ask(app, `/v2/${repository}/manifests/1`);
        expect({ status, stale: cache.includes('stale') }).toEqual({ status: 200, stale: true });
        app.clock.advance(1_000);
      }
      expect((await ask(app, `/v2/${repository}/manifests/none`)).status).toBe(502);
      expect(tokens.asked.slice(before).filter(({ method }) => method === 'GET')).toHaveLength(1);
    },
  );

  test('a token that the registry rejects is requested twice, and then the pull fails', async () => {
    const [signer, trusted] = [await selfSigned('signer'), await selfSigned('trusted')];
    const tokens = await startJwtServer({ identity: signer, isLetIn: () => true, clock: systemClock });
    const registry = await startDockerRegistry({ tokens: { ...tokens.issuer, certificate: trusted.certificate } });
    const entry = entryOf(registry, tokens, { kind: 'basic', username: 'robot', password: 'p' });
    const app = await startApp({ upstreams: { 'registry.test': entry } });

    expect((await ask(app, `/v2/${repository}/manifests/1`)).status).toBe(502);

    expect(tokens.asked).toHaveLength(2);
  });
});

function entryOf(registry: DockerRegistry, tokens: JwtServer, credentials: object): object {
  return {
    url: registry.url,
    realmHosts: [tokens.host],
    credentials: [credentials],
    visibility: 'service',
    allowAnonymous: true,
  };
}
