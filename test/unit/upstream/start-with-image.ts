import { parseRepository, parseTag } from '../../../src/oci/reference.ts';
import type { Fault } from '../../support/fake-answer.ts';
import { startFakeRegistry } from '../../support/fake-registry.ts';
import { image } from '../../support/images.ts';
import { clientOf } from './start-client.ts';

export const repository = parseRepository('team/app');
export const latest = parseTag('latest');
export const manifests = /\/manifests\//;

/** A registry with one image, whose manifest requests have the fault, and a client of it. */
export async function startWithImage(fault: Fault = {}) {
  const registry = await startFakeRegistry();
  const app = image();
  registry.content.add(repository, latest, app);
  registry.script({ path: manifests }, fault);
  return { registry, app, ...clientOf(registry.url) };
}
