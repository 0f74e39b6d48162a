/** By then a file system has given back what was removed, or somebody else has taken it. */
const shownWithinMs = 60_000;

/**
 * What was removed of the store lately, and does not show as free yet: ZFS, btrfs and XFS give back the space of a removed file seconds
 * later. Who asks only how much is free would remove more and more meanwhile, until nothing is left.
 *
 * What is free and what the store uses are together as much as before, once everything shows.
 */
export class FreedLately {
  #bytes = 0;
  #beforeBytes = 0;
  #sinceMs = -Infinity;

  /** @param togetherBytes free and used, before this was removed. */
  note(bytes: number, { togetherBytes, nowMs }: { readonly togetherBytes: number; readonly nowMs: number }): void {
    if (nowMs - this.#sinceMs >= shownWithinMs) {
      this.#bytes = 0;
      this.#beforeBytes = togetherBytes;
      this.#sinceMs = nowMs;
    }
    this.#bytes += bytes;
  }

  /** Bytes that are still to show. While most of them do, what is missing went to small things: records, and what files take beside their bytes. */
  unshownBytes({ togetherBytes, nowMs }: { readonly togetherBytes: number; readonly nowMs: number }): number {
    if (nowMs - this.#sinceMs >= shownWithinMs) return 0;
    const missingBytes = Math.min(this.#bytes, this.#beforeBytes - togetherBytes);
    return missingBytes > this.#bytes / 2 ? missingBytes : 0;
  }
}
