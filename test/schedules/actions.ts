import fc from 'fast-check';
import type { LocatedRepository } from '../../src/mirror/mirror.ts';
import { imageGlob } from '../../src/mirror/administration/purge-by-glob.ts';
import { digestOf, type Digest } from '../../src/oci/digest.ts';
import { placeOf, repositories, tags, type World } from './schedule-world.ts';

export type Action =
  /** Pulls a tag with all it names, from the first byte to the last, or leaves after so many reads. */
  | { readonly kind: 'pull'; readonly repository: number; readonly tag: number; readonly leavesAfter: number }
  /** As a warm does: every tag of a repository, one layer at a time. */
  | { readonly kind: 'warm'; readonly repository: number }
  | { readonly kind: 'purge tag'; readonly repository: number; readonly tag: number }
  | { readonly kind: 'purge digest'; readonly repository: number; readonly tag: number }
  | { readonly kind: 'purge repository'; readonly repository: number }
  | { readonly kind: 'purge glob'; readonly glob: string; readonly isPlan: boolean }
  | { readonly kind: 'sweep'; readonly afterHours: number }
  | { readonly kind: 'refresh'; readonly repository: number; readonly tag: number }
  | { readonly kind: 'move'; readonly repository: number; readonly tag: number; readonly image: number };

const repository = fc.nat(repositories.length - 1);
const tag = fc.nat(tags.length - 1);
const of = <Kind extends Action['kind']>(kind: Kind) => fc.constant(kind);
const wholePull = 1_000_000;

/** Some clients leave early; most pull whole images. */
const pull = fc.record({
  kind: of('pull'),
  repository,
  tag,
  leavesAfter: fc.oneof({ weight: 4, arbitrary: fc.constant(wholePull) }, { weight: 1, arbitrary: fc.nat(8) }),
});

export const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: pull },
  { weight: 1, arbitrary: fc.record({ kind: of('warm'), repository }) },
  { weight: 2, arbitrary: fc.record({ kind: of('purge tag'), repository, tag }) },
  { weight: 1, arbitrary: fc.record({ kind: of('purge digest'), repository, tag }) },
  { weight: 2, arbitrary: fc.record({ kind: of('purge repository'), repository }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: of('purge glob'),
      glob: fc.constantFrom('docker.io/library/*', 'docker.io/**', '**:*-dev', 'docker.io/library/*:1*'),
      isPlan: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: of('sweep'), afterHours: fc.constantFrom(0, 0, 1, 25) }) },
  { weight: 1, arbitrary: fc.record({ kind: of('refresh'), repository, tag }) },
  { weight: 1, arbitrary: fc.record({ kind: of('move'), repository, tag, image: fc.nat(5) }) },
);

const never = { signal: new AbortController().signal };

/** @throws when a reader saw anything but the whole content, or an action failed that cannot. */
export async function act(world: World, chosen: Action): Promise<void> {
  const { mirror, purge, byGlob, clock } = world;
  switch (chosen.kind) {
    case 'pull':
      return pullImage(world, chosen);
    case 'warm':
      for (const each of tags.keys()) await pullImage(world, { ...chosen, tag: each, leavesAfter: wholePull });
      return;
    case 'purge tag':
      return void (await purge.run({ kind: 'tag', ...placeOf(chosen) }, never));
    case 'purge digest':
      return purgeDigest(world, chosen);
    case 'purge repository':
      return void (await purge.run({ kind: 'repository', ...placeOf({ ...chosen, tag: 0 }) }, never));
    case 'purge glob': {
      const glob = imageGlob(chosen.glob);
      if (glob === undefined) throw new Error(`${chosen.glob} is no glob`);
      for await (const _ of chosen.isPlan ? byGlob.plan(glob, never) : byGlob.run(glob, never));
      return;
    }
    case 'sweep':
      clock.advance(chosen.afterHours * 3_600_000);
      return mirror.sweep();
    case 'refresh':
      return void (await mirror.mirror.refresh(located(world, chosen), placeOf(chosen).tag, never));
    case 'move':
      return world.move(repositories[chosen.repository] ?? '', tags[chosen.tag] ?? '', chosen.image);
  }
}

function located(
  { mirror }: World,
  { repository: at, tag: which }: { repository: number; tag: number },
): LocatedRepository {
  const { repositoryId } = placeOf({ repository: at, tag: which });
  return mirror.mirror.locate({
    namespace: undefined,
    host: undefined,
    pathPrefix: undefined,
    name: repositoryId.repository,
  });
}

async function purgeDigest(world: World, chosen: { repository: number; tag: number }): Promise<void> {
  const { repositoryId, tag: name } = placeOf(chosen);
  const known = await world.index.tags(repositoryId, { after: undefined, limit: 10 });
  const digest = known?.find((one) => one.tag === name)?.digest;
  if (digest !== undefined) await world.purge.run({ kind: 'digest', repositoryId, digest }, never);
}

interface Leaving {
  readonly signal: AbortSignal;
  /** To be called before each read. @throws when the client leaves now. */
  readonly step: () => void;
}

class Left extends Error {}

function leavingAfter(reads: number): Leaving {
  const controller = new AbortController();
  let left = reads;
  return {
    signal: controller.signal,
    step: () => {
      if (left-- > 0) return;
      controller.abort(new Left());
      throw new Left();
    },
  };
}

export async function pullImage(
  world: World,
  chosen: { readonly repository: number; readonly tag: number; readonly leavesAfter: number },
): Promise<void> {
  const { tag: name } = placeOf(chosen);
  const leaving = leavingAfter(chosen.leavesAfter);
  try {
    const at = located(world, chosen);
    const { bytes = new Uint8Array(), digest } = await world.mirror.mirror.manifest(at, name, false, leaving);
    if (digestOf(bytes) !== digest) throw new Error(`the manifest ${digest} has other bytes`);
    const { config, layers } = JSON.parse(Buffer.from(bytes).toString());
    const parts: readonly { digest: Digest; size: number }[] = [config, ...layers];
    if (chosen.repository % 2 === 0) await Promise.all(parts.map((part) => readBlob(world, at, part, leaving)));
    else for (const part of parts) await readBlob(world, at, part, leaving);
  } catch (error) {
    if (!(error instanceof Left)) throw error;
  }
}

const pieceBytes = 64 * 1024;

async function readBlob(
  { mirror }: World,
  at: LocatedRepository,
  { digest, size }: { readonly digest: Digest; readonly size: number },
  leaving: Leaving,
): Promise<void> {
  const served = await mirror.mirror.blob(at, digest, leaving);
  await using source = served.source;
  const bytes = Buffer.alloc(size + 1);
  let length = 0;
  for (let read = -1; read !== 0; length += read) {
    leaving.step();
    read = await source.read(bytes.subarray(length, length + pieceBytes), length);
  }
  if (length !== size) throw new Error(`a reader of ${digest} saw ${length} bytes of ${size}`);
  if (digestOf(bytes.subarray(0, length)) !== digest) throw new Error(`a reader of ${digest} saw other bytes`);
}
