import type { EvictableContent, EvictionPosition } from '../../mirror/ports/store-index.ts';
import type { Digest } from '../../oci/digest.ts';

/** Content that is evicted soon. */
export interface NextEvicted extends EvictableContent {
  /** The manifest that names it, and must be evicted before it. */
  readonly under: Digest | undefined;
}

/** How much is known without Redis; as much again may be added until it is filled anew. */
export const windowSize = 500;
const maxContents = 2 * windowSize;

/**
 * What is evicted next, as the view said when it was last asked, so that eviction goes on for a while without Redis. Content that was used or
 * protected since is left out: rather too little is evicted than too much.
 */
export class EvictionWindow {
  #contents = new Map<Digest, NextEvicted>();

  /** Replaces the window by what the view says now. */
  fill(contents: readonly NextEvicted[]): void {
    this.#contents = new Map(contents.map((content) => [content.digest, content]));
  }

  /** Adds evictable content that the view told since; what was added first leaves, if there is too much. */
  add(contents: readonly EvictableContent[]): void {
    for (const content of contents) {
      this.#contents.delete(content.digest);
      this.#contents.set(content.digest, { ...content, under: undefined });
      const [first] = this.#contents.keys();
      if (first !== undefined && this.#contents.size > maxContents) this.#contents.delete(first);
    }
  }

  /** Content that was used, stored again, or is named by a manifest or linked to a kept repository from now on. */
  leaveOut(digests: Iterable<Digest>): void {
    for (const digest of digests) this.#contents.delete(digest);
  }

  /** Removes content that is evicted. What only it named is evictable then. @returns it, if it was here */
  take(digest: Digest): NextEvicted | undefined {
    const taken = this.#contents.get(digest);
    this.#contents.delete(digest);
    if (taken?.isManifest === true) this.#release(digest);
    return taken;
  }

  /** Evictable content after `after`, least recently used first, at most `limit`. */
  evictable({ limit, after }: { limit: number; after?: EvictionPosition | undefined }): readonly EvictableContent[] {
    return [...this.#contents.values()]
      .filter(({ under }) => under === undefined)
      .filter((content) => after === undefined || inOrder(after, content) < 0)
      .toSorted(inOrder)
      .slice(0, limit);
  }

  #release(manifest: Digest): void {
    for (const [digest, content] of this.#contents)
      if (content.under === manifest) this.#contents.set(digest, { ...content, under: undefined });
  }
}

function inOrder(one: EvictionPosition, other: EvictionPosition): number {
  if (one.usedAtMs !== other.usedAtMs) return one.usedAtMs - other.usedAtMs;
  return one.digest < other.digest ? -1 : Number(one.digest > other.digest);
}
