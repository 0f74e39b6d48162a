import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts';
import { image, referrerOf } from './images.ts';
import { pullAll } from './pull.ts';
import { type RunningApp, startApp } from './start-app.ts';
import { type MirrorConfig, mirrorOf } from './start-mirror.ts';

export const repository = 'library/app';
export const minute = 60_000;
/** The images that the tag may point to. */
export const [one, two] = [image({ name: 'one' }), image({ name: 'two' })];

/** A mirror that has pulled `library/app:1`, which means `one`; the tag is no longer fresh. */
export async function pulled(
  config: MirrorConfig = {},
): Promise<{ readonly upstream: FakeRegistry; readonly app: RunningApp }> {
  const upstream = await startFakeRegistry();
  upstream.content.add(repository, '1', one, [referrerOf(one.manifest)]);
  const app = await startApp(mirrorOf(upstream, config));
  await pullAll(app, repository, '1');
  await app.quiet();
  app.clock.advance(5 * minute);
  upstream.forgetRequests();
  return { upstream, app };
}
