import { z } from 'zod';
import { tagGlob } from './names.ts';
import { durationMs, durationOrForeverMs, word } from './values.ts';

const tagRule = z
  .strictObject({
    match: tagGlob().describe(
      'A glob over `<upstream>/<repository>:<tag>`, such as `**:latest` or `quay.io/team/*:v*`.',
    ),
    tag: durationOrForeverMs().describe('How long the matching tags are fresh.'),
  })
  .transform(({ match, tag }) => ({ match, tagMs: tag }));

const servedOrNot = (when: string) =>
  word(['serve', 'fail']).describe(`When ${when}: \`serve\` the cached tag as stale, or \`fail\`.`);

const keys = {
  tag: durationOrForeverMs().describe(
    'How long a cached tag is served without asking the upstream; `0s` asks every time.',
  ),
  tags: z.array(tagRule).describe('Lifetimes for particular tags; the first match applies.'),
  missing: durationMs().describe('How long a 404 from the upstream is cached.'),
  staleFor: durationOrForeverMs().describe(
    'How long after its lifetime a tag may be served stale while the upstream gives no answer.',
  ),
  staleOn: z
    .strictObject({
      connect: servedOrNot('the upstream cannot be reached').prefault('serve'),
      dns: servedOrNot('the host name of the upstream cannot be resolved').prefault('serve'),
      tls: servedOrNot('the certificate of the upstream is not trusted').prefault('serve'),
      timeout: servedOrNot('the upstream does not answer in time').prefault('serve'),
      error: servedOrNot('the upstream answers 5xx or an invalid response').prefault('serve'),
      rateLimit: servedOrNot('the upstream answers 429').prefault('serve'),
      refused: servedOrNot('the upstream answers 401 or 403').prefault('serve'),
    })
    .describe('What to do with a cached tag when the upstream gives no answer, by reason.'),
  deletedUpstream: word(['serve', 'deny']).describe('Whether a cached tag that was deleted upstream is still served.'),
  offline: z.boolean().describe('Never contacts the upstream. Cached content is served and does not expire.'),
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
  .describe('How long cached answers are trusted.');

export const freshnessOverrides = z
  .strictObject(keys)
  .partial()
  .describe('Overrides of `freshness` for this upstream. Its `tags` are matched first.');

type Freshness = z.output<typeof freshness>;

/** The settings of one upstream: its own, else those for all. */
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
