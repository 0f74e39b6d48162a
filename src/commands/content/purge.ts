import { type PurgeAnswer, purged as purgedSchema } from '../../http/management/api/content/purge-routes.ts';
import { answerAs, apiOf, exitCodeOf, failure, type MirrorChoice, type Output, tryJson } from '../api/client.ts';
import { bytesText, countText } from '../../http/management/pages/drawing/words.ts';
import { splitImageName } from '../../oci/image-name.ts';
import { alignedLines } from '../api/table.ts';

export interface PurgeOptions extends MirrorChoice, Output {
  /** `docker.io/library/nginx:1.27`, `…@sha256:…`, or a repository with `allTags`. */
  readonly image: string;
  readonly allTags: boolean;
  readonly dryRun: boolean;
  readonly json: boolean;
}

/** A repository of nightly builds has thousands of manifests. */
const purgesWithinMs = 10 * 60_000;

/**
 * Removes a tag, a digest or a repository from the cache of the running mirror.
 * @returns the exit code: see exitCodes.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function purge(options: PurgeOptions): Promise<number> {
  const { image, allTags, dryRun, json, print } = options;
  return exitCodeOf(async () => {
    const target = targetIn(image, { allTags });
    if (typeof target === 'string') throw failure(`${image}: ${target}`);
    const api = await apiOf(options);
    const body = { ...target, ...(dryRun && { dryRun }) };
    const answer = await api('purge', { method: 'POST', body, withinMs: purgesWithinMs });
    if (json) return print(`${JSON.stringify(answer, null, 2)}\n`);
    print(purgedText(answerAs(purgedSchema, answer, tryJson)));
  }, options);
}

export interface PurgeBody {
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/** What an image names, as the API takes it; else what is wrong with it. Pure. */
export function targetIn(image: string, { allTags }: { readonly allTags: boolean }): PurgeBody | string {
  const { name, tag, digest } = splitImageName(image);
  const [registry = '', ...rest] = name.split('/');
  const isFull = rest.length > 0 && (/[.:]/.test(registry) || registry === 'localhost');
  if (!isFull) return 'expected the full name with its registry, such as docker.io/library/nginx:1.27';
  const isWhole = tag === undefined && digest === undefined;
  if (isWhole && !allTags) return 'without a tag or digest it names the whole repository: --all-tags purges that';
  if (!isWhole && allTags) return '--all-tags is for a repository, without a tag or digest';
  // As clients do: with both, the digest says what is meant.
  if (digest !== undefined) return { repository: name, digest };
  return tag === undefined ? { repository: name } : { repository: name, tag };
}

/** Pure. */
function purgedText({ dryRun, repository, removed, kept, tags }: PurgeAnswer): string {
  const { manifests, blobs, bytes } = removed;
  const named = tags.length > 0 && tags.length <= 10 ? ` (${tags.join(', ')})` : '';
  return alignedLines([
    [dryRun ? 'would be purged' : 'purged', repository],
    ['tags', `${countText(removed.tags)}${named}`],
    ['manifests', countText(manifests)],
    ['blobs', countText(blobs)],
    ['bytes', bytesText(bytes)],
    ...(kept > 0 ? [['kept', `${countText(kept)}, which another tag, image or repository needs`]] : []),
  ]);
}
