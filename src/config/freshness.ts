import { z } from 'zod';
import { tagGlob } from './names.ts';
import { durationMs, durationOrForeverMs, word } from './values.ts';

const tagRule = z
  .strictObject({
    match: tagGlob().describe(
      'A glob over `<upstream>/<repository>:<tag>`, such as `**:latest` or `quay.io/team/*:v*`.',
    ),
    tag: durationOrForeverMs().describe('How long the tags it matches are fresh.'),
  })
  .transform(({ match, tag }) => ({ match, tagMs: tag }));

const keys = {
  tag: durationOrForeverMs().describe('How long a tag is answered without asking the upstream; `0s` asks every time.'),
  tags: z.array(tagRule).describe('Other lifetimes for some tags; the first that matches counts.'),
  missing: durationMs().describe("How long the upstream's 404 is remembered."),
  staleFor: durationOrForeverMs().describe(
    'How long past its lifetime a tag is still served while the upstream gives no answer.',
  ),
  deletedUpstream: word(['serve', 'deny']).describe(
    'Whether a tag that is gone upstream is still served from the cache.',
  ),
  offline: z.boolean().describe('Never dials; what is cached is served and does not expire.'),
};

export const freshness = z
  .strictObject({
    tag: keys.tag.prefault('5m'),
    tags: keys.tags.prefault([]),
    missing: keys.missing.prefault('30s'),
    staleFor: keys.staleFor.prefault('forever'),
    deletedUpstream: keys.deletedUpstream.prefault('serve'),
    offline: keys.offline.prefault(false),
  })
  .transform(({ tag, missing, staleFor, ...rest }) => ({
    ...rest,
    tagMs: tag,
    missingMs: missing,
    staleForMs: staleFor,
  }))
  .describe('How far a remembered answer is trusted.');

export const freshnessOverrides = z
  .strictObject(keys)
  .partial()
  .describe('What differs from `freshness` for this upstream. Its `tags` are looked at before those.');

type Freshness = z.output<typeof freshness>;

/** What holds for one upstream: what it says itself, else what holds for all. */
export function overridden(common: Freshness, own: z.output<typeof freshnessOverrides>): Freshness {
  return {
    tagMs: own.tag ?? common.tagMs,
    tags: [...(own.tags ?? []), ...common.tags],
    missingMs: own.missing ?? common.missingMs,
    staleForMs: own.staleFor ?? common.staleForMs,
    deletedUpstream: own.deletedUpstream ?? common.deletedUpstream,
    offline: own.offline ?? common.offline,
  };
}
