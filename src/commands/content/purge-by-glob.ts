import { type GlobPurgeAnswer, purgedByGlob as purgedSchema } from '../../http/management/api/content/purge-routes.ts';
import {
  answerAs,
  type Api,
  apiOf,
  exitCodeOf,
  failure,
  type MirrorChoice,
  type Output,
  tryJson,
} from '../api/client.ts';
import { bytesText, countText } from '../../http/management/pages/drawing/words.ts';
import { alignedLines } from '../api/table.ts';

export interface PurgeByGlobOptions extends MirrorChoice, Output {
  /** Such as `docker.io/library/*`, or `docker.io/**:*-dev`. */
  readonly glob: string;
  readonly dryRun: boolean;
  /** Without asking. */
  readonly yes: boolean;
  readonly json: boolean;
  /** Asks the operator; undefined if nobody is at a terminal. */
  readonly confirm: ((question: string) => Promise<boolean>) | undefined;
}

/** Hundreds of repositories of nightly builds. */
const purgesWithinMs = 60 * 60_000;
/** Repositories that are printed; `--json` has more. */
const mostPrinted = 40;

/**
 * Removes what a glob names from the cache of the running mirror: says what would go, asks, and does it.
 * @returns the exit code: see exitCodes.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function purgeByGlob(options: PurgeByGlobOptions): Promise<number> {
  const { glob, dryRun, yes, json, confirm, print, printError } = options;
  return exitCodeOf(async () => {
    const api = await apiOf(options);
    if (!dryRun && !yes) {
      if (confirm === undefined) throw failure(`${glob}: a glob is purged with --yes only, unless asked on a terminal`);
      const planned = knownAnswer(await asked(api, { glob, dryRun: true }));
      printError(purgedByGlobText(planned));
      if (planned.repositories === 0) return;
      if (!(await confirm('Purge these? [y/N] '))) throw failure('nothing was purged');
    }
    const answer = await asked(api, { glob, dryRun });
    print(json ? `${JSON.stringify(answer, null, 2)}\n` : purgedByGlobText(knownAnswer(answer)));
  }, options);
}

function asked(api: Api, { glob, dryRun }: { readonly glob: string; readonly dryRun: boolean }): Promise<unknown> {
  return api('purge/by-glob', { method: 'POST', body: { glob, dryRun }, withinMs: purgesWithinMs });
}

function knownAnswer(answer: unknown): GlobPurgeAnswer {
  return answerAs(purgedSchema, answer, tryJson);
}

/** Pure. */
function purgedByGlobText({ dryRun, repositories, removed, items, refused, refusals }: GlobPurgeAnswer): string {
  if (repositories === 0) return 'nothing of this is cached\n';
  const row = (name: string, { tags, manifests, blobs, bytes }: GlobPurgeAnswer['removed']) => [
    name,
    ...[tags, manifests, blobs].map(countText),
    bytesText(bytes),
  ];
  const more = repositories - refused - Math.min(items.length, mostPrinted);
  return [
    alignedLines([
      [dryRun ? 'WOULD BE PURGED' : 'PURGED', 'TAGS', 'MANIFESTS', 'BLOBS', 'BYTES'],
      ...items.slice(0, mostPrinted).map(({ repository, removed: counts }) => row(repository, counts)),
      ...(more > 0 ? [[`and ${countText(more)} more`]] : []),
      row('all', removed),
    ]),
    ...(refused > 0 ? [alignedLines([[`${countText(refused)} not purged:`], ...refusalRows(refusals)])] : []),
  ].join('\n');
}

function refusalRows(refusals: GlobPurgeAnswer['refusals']): readonly (readonly string[])[] {
  return refusals.slice(0, mostPrinted).map(({ repository, reason }) => [`  ${repository}: ${reason}`]);
}
