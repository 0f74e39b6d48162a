import type { AnyCache } from '../../../src/cluster/any-cache.ts';
import type { Claim } from '../../../src/cluster/leases.ts';
import type { Replica } from '../../../src/cluster/membership.ts';
import { ClusterWork, type SharedBucket } from '../../../src/cluster/shared-work.ts';
import { SourcedBlob } from '../../../src/mirror/blobs/upstream-blobs.ts';
import { noOtherCaches, type OtherCache } from '../../../src/mirror/ports/other-caches.ts';
import type { ContentQuestion, UpstreamBlobSource } from '../../../src/mirror/ports/shared-work.ts';
import type { ByteRange, OpenedBlob } from '../../../src/mirror/ports/upstream.ts';
import { resumedPieces } from '../../../src/mirror/transfers/resumed-pieces.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { UpstreamError } from '../../../src/oci/errors.ts';
import { parseRepository, type Repository } from '../../../src/oci/reference.ts';
import { randomBytes } from '../../support/images.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { body } from '../../support/start-download.ts';

export const bytes = randomBytes(2_000, 'shared blob');
export const digest = digestOf(bytes);
export const repository = parseRepository('library/app');
export const question: ContentQuestion = { repositoryId: { upstream: 'docker.io', repository }, digest };
export const waiting = { signal: new AbortController().signal };
export const broken = new UpstreamError('connect', 'closed the connection within the body');

type Answer = (start: number) => OpenedBlob | undefined | Promise<OpenedBlob | undefined>;

/** The blob from a position on. */
export const whole: Answer = (start) => ({ body: body(bytes.subarray(start)), offset: start, size: bytes.length });
/** The blob up to a byte, where the answer breaks off. */
export const until =
  (end: number): Answer =>
  (start) => ({ body: body(bytes.subarray(start, end), broken), offset: start, size: bytes.length });
export const failing =
  (cause: Error): Answer =>
  () => {
    throw cause;
  };

export const replica = (id: string): Replica => ({ id, address: `http://${id}:5002` });

/** One replica whose siblings, bucket and upstream answer as the test says. It notes who was asked for what. */
export function scriptedCluster({
  claim,
  at = {},
  upstream: upstreamAnswer = whole,
  confirm = async () => {},
  anywhere = async () => undefined,
  bucket: bucketAnswer,
  manifestAt = {},
}: {
  /** What Redis says, by the replicas that were given up. */
  readonly claim: (failed: ReadonlySet<string>) => 'mine' | Exclude<Claim, { readonly kind: 'mine' }>;
  /** By the id of the replica. */
  readonly at?: Readonly<Record<string, Answer>>;
  readonly upstream?: Answer;
  readonly confirm?: () => Promise<void>;
  readonly anywhere?: AnyCache['openAtSibling'];
  readonly bucket?: Answer;
  readonly manifestAt?: Readonly<Record<string, OtherCache['manifest']>>;
}) {
  const asked: string[] = [];
  /** Replicas that are no longer named as holders. */
  const forgotten: string[] = [];
  const clock = new ManualClock();
  const uploaded: unknown[] = [];
  const told: string[] = [];
  const uses = { open: 0, most: 0 };
  const known = new Set<string>();
  const open =
    (name: string, answer: Answer) =>
    async (id: ContentQuestion['repositoryId'], _: unknown, { range }: { readonly range?: ByteRange }) => {
      const of = id.repository === repository ? '' : ` of ${id.repository}`;
      asked.push(`${name}${of} ${range?.start ?? 0}`);
      return answer(range?.start ?? 0);
    };
  const lease = {
    use: () => {
      uses.open += 1;
      uses.most = Math.max(uses.most, uses.open);
      return { [Symbol.dispose]: () => void (uses.open -= 1) };
    },
  };
  const bucket: SharedBucket | undefined = bucketAnswer && {
    source: { open: open('bucket', bucketAnswer), failedVerification: () => told.push('bucket') },
    cache: noOtherCaches,
    stored: (stored) => uploaded.push(stored),
  };
  const work = new ClusterWork({
    leases: {
      claim: async (_, { failed }) => {
        const said = claim(failed);
        return said === 'mine' ? { kind: 'mine', lease } : said;
      },
      stored: ({ digest: stored }) => asked.push(`stored ${stored === digest}`),
      removed: () => asked.push('removed'),
      forget: (_, { id }) => void forgotten.push(id),
    },
    membership: {
      refresh: async () => {
        asked.push('members');
        for (const id of [...Object.keys(at), ...Object.keys(manifestAt)]) known.add(replica(id).address);
      },
    },
    siblings: {
      at: (address) => {
        const id = new URL(address).hostname;
        const answer = at[id];
        const manifest = manifestAt[id];
        if (!known.has(address) || !(answer || manifest)) return undefined;
        return {
          ...noOtherCaches,
          ...(answer && { openBlob: open(id, answer) }),
          ...(manifest && { manifest }),
        };
      },
    },
    tagHints: { turn: () => Promise.reject(new Error('not asked')) },
    anyCache: { openAtSibling: anywhere },
    clock,
    bucket,
  });
  const upstream: UpstreamBlobSource = {
    open: open('upstream', upstreamAnswer),
    confirm: async () => {
      asked.push('confirm');
      await confirm();
    },
    failedVerification: () => told.push('upstream'),
  };
  /** A download of the blob from all of its sources, in order. */
  const download = () => {
    const { repositoryId } = question;
    const blob = new SourcedBlob({ repositoryId, digest, sources: work.blobSources(question, upstream) });
    const read = async (): Promise<Buffer> => {
      const pieces: Buffer[] = [];
      const rules = { attemptsWithoutProgress: 1, wait: async () => {}, ...waiting };
      const first = await blob.open(0, undefined, waiting);
      for await (const some of resumedPieces({ ...rules, from: 0, first, blob, size: bytes.length }))
        pieces.push(...some.map((piece) => Buffer.from(piece)));
      return Buffer.concat(pieces);
    };
    return { blob, read };
  };
  const join = (...ids: readonly string[]) => ids.forEach((id) => known.add(replica(id).address));
  return { work, download, clock, asked, forgotten, uploaded, told, uses, join };
}

export const heldBy = (id: string, by: Repository = repository): Claim & { readonly kind: 'held' } => ({
  kind: 'held',
  holder: replica(id),
  repository: by,
});

export const storedAt = (...ids: readonly string[]): Claim & { readonly kind: 'stored' } => ({
  kind: 'stored',
  holders: ids.map(replica),
});
