import type { Agent } from 'node:http';
import type { Agent as TlsAgent } from 'node:https';
import type { Digest } from '../../src/oci/digest.ts';
import type { Content } from '../../test/support/images.ts';
import type { Dice } from '../dice.ts';
import type { Ledger } from '../ledger.ts';
import type { MirrorProcess } from '../mirror-process.ts';
import { digestsOf, movingTag, type PublishedImage } from '../world.ts';
import { type Answered, ask, type Asking } from './ask.ts';
import { pathOf } from './paths.ts';
import { type Expected, verdictOn } from './verdict.ts';

export interface PullerDeps {
  readonly world: readonly PublishedImage[];
  readonly mirror: MirrorProcess;
  readonly agent: Agent | TlsAgent;
  readonly dice: Dice;
  readonly ledger: Ledger;
  /** Whether pinned images must be served, whatever happens. */
  readonly isPinnedSafe: () => boolean;
  /** A client of the healthy registry must have the whole response within this time; by default 5 s. */
  readonly healthyWithinMs?: number | undefined;
}

/** How a client behaves while it pulls. */
export interface Manners {
  /** Probabilities from 0 to 1. */
  readonly hangsUp: number;
  readonly isSlow: number;
  /** Sends a HEAD first, as containerd does. */
  readonly looksFirst: number;
  /** Has some of the layers already. */
  readonly hasPart: number;
}

export const goodManners: Manners = { hangsUp: 0, isSlow: 0, looksFirst: 0, hasPart: 0 };

/** Pulls images as a client does, checks every response, and counts. */
export class Puller {
  readonly #deps: PullerDeps;

  constructor(deps: PullerDeps) {
    this.#deps = deps;
  }

  /** One pull: the manifest by its tag, then its blobs. @returns whether all of it was right. */
  async pull(published: PublishedImage, manners: Manners): Promise<boolean> {
    const { ledger, dice, world } = this.#deps;
    ledger.count('pulls', published.kind);
    const tag = published.kind === 'ordinary' && dice.isLucky(0.15) ? movingTag : published.tag;
    const meant = digestsOf(world, { ...published, tag });
    const byTag = pathOf(published, `manifests/${tag}`);
    if (dice.isLucky(manners.looksFirst)) await this.#ask(published, { path: byTag, method: 'HEAD' }, headersOf(meant));
    const digest = await this.#ask(published, { path: byTag }, { kind: 'whole', digests: new Set(meant.keys()) });
    const pulled = digest && meant.get(digest);
    if (!pulled) return false;
    const wanted = pulled.image.blobs.filter(() => !dice.isLucky(manners.hasPart));
    const got = await Promise.all(wanted.map((blob) => this.#pullBlob(pulled, blob, manners)));
    const isWhole = got.every((isRight) => isRight);
    ledger.count('outcomes', isWhole ? 'complete' : 'incomplete');
    return isWhole;
  }

  /** Requests a tag that no registry has. */
  async pullAbsent(published: PublishedImage): Promise<void> {
    const name = `absent-${this.#deps.dice.below(1_000)}`;
    await this.#ask(
      { ...published, kind: 'ordinary' },
      { path: pathOf(published, `manifests/${name}`) },
      { kind: 'absent' },
    );
  }

  /** Requests a range of a blob, as a client does that resumes a pull. */
  async pullPart(published: PublishedImage): Promise<void> {
    const { dice } = this.#deps;
    const { digest, bytes } = dice.pick(published.image.blobs);
    const start = dice.below(bytes.length);
    const end = start + dice.below(bytes.length - start);
    const expected: Expected = {
      kind: 'part',
      bytes: bytes.subarray(start, end + 1),
      contentRange: `bytes ${start}-${end}/${bytes.length}`,
      whole: digest,
    };
    await this.#ask(
      published,
      { path: pathOf(published, `blobs/${digest}`), range: `bytes=${start}-${end}` },
      expected,
    );
  }

  async #pullBlob(published: PublishedImage, { digest, bytes }: Content, manners: Manners): Promise<boolean> {
    const { dice } = this.#deps;
    const path = pathOf(published, `blobs/${digest}`);
    const leaveAfterBytes = dice.isLucky(manners.hangsUp) ? dice.below(bytes.length) : undefined;
    const restMs = dice.isLucky(manners.isSlow) ? dice.between(5, 60) : undefined;
    const expected: Expected = { kind: 'whole', digests: new Set([digest]) };
    return (await this.#ask(published, { path, leaveAfterBytes, restMs }, expected)) !== undefined;
  }

  /** @returns the digest of the body, if it was complete and right. */
  async #ask(
    published: PublishedImage,
    asking: Omit<Asking, 'origin' | 'agent'>,
    expected: Expected,
  ): Promise<Digest | undefined> {
    const { mirror, agent, ledger, isPinnedSafe, healthyWithinMs } = this.#deps;
    const isSafe = published.kind === 'pinned' && isPinnedSafe();
    const isHealthy = published.kind === 'healthy';
    const answer = await ask({ ...asking, origin: mirror.origin, agent });
    const wasAbsent = mirror.wasAbsent(answer.fromMs, answer.toMs);
    const wasStarved = mirror.wasStarved(answer.fromMs, answer.toMs);
    const verdict = verdictOn(answer, { expected, wasAbsent, wasStarved, isSafe, isHealthy, healthyWithinMs });
    ledger.count(
      'answers',
      answer.end === 'left' ? 'the client left' : verdict.word === 'failed' ? verdict.how : verdict.word,
    );
    if (isHealthy) ledger.count('healthy', `${cacheWordOf(answer)}, ${verdict.word}`);
    if (verdict.word === 'violation') ledger.violate(`${asking.method ?? 'GET'} ${asking.path}: ${verdict.why}`);
    return verdict.word === 'right' ? answer.digest : undefined;
  }
}

function headersOf(meant: ReadonlyMap<Digest, PublishedImage>): Expected {
  const sizes = new Set([...meant.values()].map(({ image }) => image.manifest.bytes.length));
  return { kind: 'headers', digests: new Set(meant.keys()), sizes };
}

/** How it was answered, from its Cache-Status. */
function cacheWordOf({ headers, status }: Answered): string {
  const { 'cache-status': told } = headers;
  return typeof told === 'string' ? (/^layerwell; ?(hit|fwd=[a-z-]+)/.exec(told)?.[1] ?? told) : `status ${status}`;
}
