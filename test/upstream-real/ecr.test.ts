import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { ask } from '../support/client.ts';
import { startDockerRegistry } from '../support/docker-registry.ts';
import { gate } from '../support/gate.ts';
import { image } from '../support/images.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { startMoto } from '../support/moto.ts';
import { thisTest } from '../support/owner.ts';
import { pullAll } from '../support/pull.ts';
import { pushImage } from '../support/push.ts';
import { startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools } from '../support/tools.ts';

const repository = 'team/app';
const tag = `/v2/${repository}/manifests/1`;
const hour = 3_600_000;

/** moto's accounts, and the password that its ECR issues to each of them. */
const [own, assumed] = ['123456789012', '210987654321'];
const passwordOf = (account: string) => `${account}-auth-token`;

/** AWS as moto plays it, and beside it a real registry that knows one of its accounts: moto has no registry itself. */
async function start(account: string, env: Readonly<Record<string, string>>) {
  const clock = new ManualClock(Date.now());
  const aws = await startMoto(clock);
  for (const [name, value] of Object.entries({ ...nothingElse, AWS_ENDPOINT_URL: aws.url, ...env })) {
    vi.stubEnv(name, value);
  }
  thisTest(async () => void vi.unstubAllEnvs());
  const user = { name: 'AWS', password: passwordOf(account) };
  const registry = await startDockerRegistry({ user });
  const held = image();
  const authorization = `Basic ${btoa(`${user.name}:${user.password}`)}`;
  await pushImage(registry.url, repository, '1', held, { authorization });
  const entry = {
    url: registry.url,
    credentials: [{ kind: 'ecr', region: 'eu-west-1' }],
    visibility: 'service',
    allowAnonymous: true,
  };
  const app = await startApp({ upstreams: { 'registry.test': entry }, freshness: { tag: '0s' } }, { clock });
  return { aws, registry, held, app };
}

const nothingElse = {
  AWS_ACCESS_KEY_ID: '',
  AWS_SECRET_ACCESS_KEY: '',
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
  AWS_EC2_METADATA_DISABLED: 'true',
};
const fromEnvironment = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-key-of-the-account' };

/** What a pod with a role has (IRSA): an unsigned token, which moto believes. */
async function podOf(account: string) {
  const file = join(await temporaryDirectory(), 'token');
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  await writeFile(file, `${part({ alg: 'none' })}.${part({ sub: 'system:serviceaccount:mirror' })}.`);
  return { AWS_WEB_IDENTITY_TOKEN_FILE: file, AWS_ROLE_ARN: `arn:aws:iam::${account}:role/mirror` };
}

describeWithTools(['docker-registry', 'htpasswd', 'moto_server'], 'ECR and STS as moto plays them', () => {
  test('ten concurrent pulls with keys of the environment cause one token request to ECR', async () => {
    const { app, aws, held } = await start(own, fromEnvironment);

    const pulls = await Promise.all(Array.from({ length: 10 }, () => pullAll(app, repository, '1')));

    expect(new Set(pulls.map(({ digest }) => digest))).toEqual(new Set([held.manifest.digest]));
    expect(aws.asked).toEqual(['GetAuthorizationToken']);
  });

  test('a pod with a role (IRSA) pulls with the account of that role', async () => {
    const { app, aws } = await start(assumed, await podOf(assumed));

    await pullAll(app, repository, '1');

    expect(aws.asked).toEqual(['AssumeRoleWithWebIdentity', 'GetAuthorizationToken']);
  });

  test('an account that the registry does not know causes a 502', async () => {
    const { app, aws } = await start(assumed, fromEnvironment);

    for (let nth = 0; nth < 5; nth++) {
      const { status, body } = await ask(app, tag);
      expect(status).toBe(502);
      expect(body.toString()).not.toContain(passwordOf(own));
    }

    expect(aws.asked).toEqual(['GetAuthorizationToken']);
  });

  test('the token is renewed before its twelve hours end; while AWS rejects it the old one is used, and cached images stay available', async () => {
    const { app, aws } = await start(own, fromEnvironment);
    await pullAll(app, repository, '1');
    aws.refuse(true);
    app.clock.advance(6 * hour);

    expect((await ask(app, tag)).cache).toContain('fwd-status=200');
    await expect.poll(() => aws.asked.length).toBeGreaterThan(1);

    app.clock.advance(6 * hour);
    expect((await ask(app, tag)).cache).toContain('stale');

    aws.refuse(false);
    app.clock.advance(60_000);
    expect((await ask(app, tag)).cache).toContain('fwd-status=200');
  });

  test('a cached image does not wait for an AWS that hangs', async () => {
    const { app, aws } = await start(own, fromEnvironment);
    const { digest } = await pullAll(app, repository, '1');
    aws.hold(gate());
    app.clock.advance(13 * hour);

    expect((await ask(app, `/v2/${repository}/manifests/${digest}`)).cache).toBe('hit');
    expect((await ask(app, tag)).cache).toContain('stale');
  });
});
