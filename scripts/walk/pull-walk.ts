import { FakeRegistry } from '../../test/support/fake-registry.ts';
import { freePort } from '../../test/support/free-port.ts';
import { image, randomBlob } from '../../test/support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../../test/support/pull.ts';
import { type RecordedMirror, startRecordedMirror } from './recorded-mirror.ts';

export interface WalkedFile {
  readonly file: string;
  /** Those that are called. */
  readonly functions: readonly string[];
}

/** What of src/ a pull runs through. */
export interface Walk {
  /** Below src/, in the order in which the pull meets them. */
  readonly files: readonly WalkedFile[];
  /** How many functions are called. The top level of a module is none: it runs when the module is imported. */
  readonly functions: number;
}

export interface PullWalks {
  /** A blob of 3 MiB that is not stored, for two clients at once. */
  readonly coldBlob: Walk;
  /** A stored manifest by its tag, within the tag's lifetime. */
  readonly freshTag: Walk;
}

const repository = 'library/walked';
const layerBytes = 3 * 1024 * 1024;
const blobs = [randomBlob(layerBytes, 'counted'), randomBlob(layerBytes, 'ordered')] as const;
const small = image();

/**
 * Records both pulls in a mirror before a registry, both on loopback. Another image was pulled there before: what a process or a connection does
 * once does not count, nor do the intervals of the background.
 * @param folder is empty; the mirror stores there.
 */
export async function recordPullWalks(folder: string): Promise<PullWalks> {
  const registry = new FakeRegistry(await freePort(), {});
  registry.content.add('library/other', 'latest', image({ name: 'other' }));
  registry.content.add(repository, 'latest', small);
  for (const blob of blobs) registry.content.addBlob(repository, blob);
  await registry.start();
  const mirror = await startRecordedMirror({ upstreamUrl: registry.url, folder });
  try {
    await pullAll(mirror, 'library/other', 'latest');
    const coldBlob = await recordWalk(mirror, blobs, async ({ digest }) => {
      await Promise.all([pullBlob(mirror, repository, digest), pullBlob(mirror, repository, digest)]);
    });
    await pullManifest(mirror, repository, 'latest');
    const freshTag = await recordWalk(mirror, ['latest', 'latest'], (tag) => pullManifest(mirror, repository, tag));
    return { coldBlob, freshTag };
  } finally {
    await mirror.stop();
    await registry.stop();
  }
}

/** @param pulled of two equal pulls the first is counted, and the second tells the order. A file that only the first met comes last. */
async function recordWalk<Pulled>(
  mirror: RecordedMirror,
  [first, second]: readonly [Pulled, Pulled],
  pull: (pulled: Pulled) => Promise<unknown>,
): Promise<Walk> {
  const { functions } = await mirror.record(() => pull(first));
  const { filesInOrder } = await mirror.record(() => pull(second));
  const namesIn = new Map<string, string[]>();
  for (const { file, name } of functions) namesIn.set(file, [...(namesIn.get(file) ?? []), name]);
  const files = new Set([...filesInOrder.filter((file) => namesIn.has(file)), ...namesIn.keys()]);
  return {
    files: [...files].map((file) => ({ file, functions: namesIn.get(file) ?? [] })),
    functions: functions.length,
  };
}
