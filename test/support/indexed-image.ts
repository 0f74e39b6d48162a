import { digestOf } from '../../src/oci/digest.ts';
import { parseRepository, parseTag } from '../../src/oci/reference.ts';
import type { indexAt } from './sqlite-index.ts';

export const layer = digestOf(Buffer.from('layer'));
export const manifest = digestOf(Buffer.from('manifest'));
export const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
export const latest = parseTag('latest');
export const everything = { limit: 1000 };

type ImageIndex = Pick<ReturnType<typeof indexAt>['index'], 'recordContent' | 'recordTag'>;

/** Records an image of one layer, and a tag of it. */
export function indexImage(index: ImageIndex): void {
  index.recordContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
  index.recordContent({ digest: manifest, size: 1, isManifest: true, names: [layer], usedAtMs: 2 });
  index.recordTag(repositoryId, latest, manifest);
}
