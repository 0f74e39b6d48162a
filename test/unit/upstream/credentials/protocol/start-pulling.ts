import { parseRepository, parseTag, type Repository } from '../../../../../src/oci/reference.ts';
import type { UpstreamSettings } from '../../../../../src/upstream/settings.ts';
import type { FakeAuthOptions } from '../../../../support/fake-auth.ts';
import { startFakeRegistry } from '../../../../support/fake-registry.ts';
import { image } from '../../../../support/images.ts';
import { clientOf, unlimited } from '../../start-client.ts';

export const app = parseRepository('team/app');
export const other = parseRepository('team/other');
export const latest = parseTag('latest');
export const account = { username: 'robot', password: 's3cr3t' };

/** Credentials of that account. */
export const basic = (readPassword: () => Promise<string> = async () => account.password) =>
  ({ kind: 'basic', repositories: ['**'], username: account.username, readPassword }) as const;

/** A registry with this authentication and an image in each of two repositories, and a client of it that pulls. */
export async function start(auth: FakeAuthOptions, settings: Partial<UpstreamSettings> = {}) {
  const registry = await startFakeRegistry({ auth });
  for (const repository of [app, other]) registry.content.add(repository, latest, image({ name: repository }));
  const connected = clientOf(registry.url, settings);
  const pull = (repository: Repository = app) => connected.client.headManifest(repository, latest, unlimited);
  return { registry, pull, ...connected };
}
