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

const servedOrNot = (when: string) =>
  word(['serve', 'fail']).describe(`\`serve\` it stale, or \`fail\`, when ${when}.`);

const keys = {
  tag: durationOrForeverMs().describe('How long a tag is answered without asking the upstream; `0s` asks every time.'),
  tags: z.array(tagRule).describe('Other lifetimes for some tags; the first that matches counts.'),
  missing: durationMs().describe("How long the upstream's 404 is remembered."),
  staleFor: durationOrForeverMs().describe(
    'How long past its lifetime a tag is still served while the upstream gives no answer.',
  ),
  staleOn: z
    .strictObject({
      connect: servedOrNot('it cannot be reached').prefault('serve'),
      dns: servedOrNot('its name cannot be resolved').prefault('serve'),
      tls: servedOrNot('its certificate cannot be trusted').prefault('serve'),
      timeout: servedOrNot('it does not answer in time').prefault('serve'),
      error: servedOrNot('it answers 5xx, or nonsense').prefault('serve'),
      rateLimit: servedOrNot('it answers 429').prefault('serve'),
      refused: servedOrNot('it answers 401 or 403').prefault('serve'),
    })
    .describe('What happens to a cached tag when the upstream gives no answer, by why.'),
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
    staleOn: keys.staleOn.prefault({}),
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
    staleOn: own.staleOn ?? common.staleOn,
    deletedUpstream: own.deletedUpstream ?? common.deletedUpstream,
    offline: own.offline ?? common.offline,
  };
}
