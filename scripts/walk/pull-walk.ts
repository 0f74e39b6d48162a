import { FakeRegistry } from '../../test/support/fake-registry.ts';
import { freePort } from '../../test/support/free-port.ts';
import { image, randomBlob } from '../../test/support/images.ts';
import { pullAll, pullBlob, pullManifest } from '../../test/support/pull.ts';
import { type RecordedMirror, startRecordedMirror } from './recorded-mirror.ts';

export interface WalkedFile {
  readonly file: string;
  /** The functions that are called. */
  readonly functions: readonly string[];
}

/** The files and functions of src/ that a pull runs through. */
export interface Walk {
  /** Paths below src/, in call order. */
  readonly files: readonly WalkedFile[];
  /** How many functions are called, without the top level of modules, which runs on import. */
  readonly functions: number;
}

export interface PullWalks {
  /** Two clients pull a blob of 3 MiB that is not stored. */
  readonly coldBlob: Walk;
  /** A client pulls a stored manifest by a fresh tag. */
  readonly freshTag: Walk;
}

const repository = 'library/walked';
const layerBytes = 3 * 1024 * 1024;
const blobs = [randomBlob(layerBytes, 'counted'), randomBlob(layerBytes, 'ordered')] as const;
const small = image();

/**
 * Records both pulls in a mirror in front of a registry, both on loopback. Another image is pulled first, so that one-time work of the process
 * and of connections does not count. Background intervals do not count either.
 * @param folder an empty folder for the mirror's store.
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

/**
 * A file that only one of them ran through was run by a timer: it is left out.
 * @param pulled two equal pulls: the functions of the first are counted, the second gives the order.
 */
async function recordWalk<Pulled>(
  mirror: RecordedMirror,
  [first, second]: readonly [Pulled, Pulled],
  pull: (pulled: Pulled) => Promise<unknown>,
): Promise<Walk> {
  const { functions } = await mirror.record(() => pull(first));
  const again = await mirror.record(() => pull(second));
  const inBoth = new Set(again.functions.map(({ file }) => file));
  const namesIn = new Map<string, string[]>();
  for (const { file, name } of functions) if (inBoth.has(file)) namesIn.set(file, [...(namesIn.get(file) ?? []), name]);
  const files = [...new Set([...again.filesInOrder.filter((file) => namesIn.has(file)), ...namesIn.keys()])];
  const called = files.map((file) => ({ file, functions: namesIn.get(file) ?? [] }));
  return { files: called, functions: called.reduce((sum, { functions: names }) => sum + names.length, 0) };
}
