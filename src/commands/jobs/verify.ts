import type { Job } from '../../http/management/api/jobs-routes.ts';
import type { JsonObject } from '../../oci/json.ts';
import { apiOf, exitCodeOf, exitCodes, failure, type MirrorChoice, type Output } from '../api/client.ts';
import { ProgressBar, type ProgressOutput } from '../api/progress.ts';
import { bytesText, countText } from '../../http/management/pages/drawing/words.ts';
import { alignedLines } from '../api/table.ts';
import { targetIn } from '../content/purge.ts';
import { type FollowOptions, followJob, interruptible } from './follow-job.ts';

export interface VerifyOptions extends MirrorChoice, Output, ProgressOutput, Pick<FollowOptions, 'pauseMs'> {
  /** A repository, or an image by tag or digest; undefined: all that is stored. */
  readonly name: string | undefined;
  readonly refetch: boolean;
  /** Undefined: as fast as the disk. */
  readonly bytesPerSecond: number | undefined;
  readonly json: boolean;
  readonly stop: AbortSignal;
}

/**
 * Lets the running mirror read what it has stored and compare it with its digests, and waits for it.
 * @returns the exit code: see exitCodes; 1 when something is damaged, missing or unreadable and was not fetched again, 130 when it was
 *   interrupted.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function verify(options: VerifyOptions): Promise<number> {
  return exitCodeOf(() => interruptible(() => run(options), options), options);
}

async function run(options: VerifyOptions): Promise<number> {
  const { name, refetch, bytesPerSecond, json, print } = options;
  const target = name === undefined ? {} : namedIn(name);
  const api = await apiOf(options);
  const body = { ...target, ...(refetch && { refetch }), ...(bytesPerSecond !== undefined && { bytesPerSecond }) };
  const bar = new ProgressBar(options);
  const onProgress = ({ done, total, bytes, problems }: Job) => {
    const found = problems === 0 ? '' : `, ${countText(problems)} problems`;
    const text = `${countText(done)} verified, ${bytesText(bytes)}${found}`;
    bar.show({ done, total: total ?? undefined, text });
  };
  try {
    const job = await followJob(api, { path: 'verify', body }, { ...options, onProgress });
    bar.end();
    print(json ? `${JSON.stringify(job, null, 2)}\n` : verifiedText(job));
    return isWhole(job) ? exitCodes.done : exitCodes.failed;
  } finally {
    bar.end();
  }
}

/** @throws ApiFailure when it is no full name. */
function namedIn(name: string): JsonObject {
  const repository = targetIn(name, { allTags: true });
  const target = typeof repository === 'string' ? targetIn(name, { allTags: false }) : repository;
  if (typeof target === 'string') throw failure(`${name}: ${target}`);
  return { ...target };
}

/** Whether the job came to its end, and all that it looked at is intact now. Pure. */
export function isWhole({ state, verified, problemList }: Job): boolean {
  if (state !== 'done' || verified === undefined) return false;
  const { damaged, missing, unreadable, refetched } = verified;
  return damaged + missing + unreadable === refetched && !problemList.some(({ reason }) => reason === 'index');
}

/** Pure. */
function verifiedText({ state, done, bytes, verified, problems, problemList }: Job): string {
  const { damaged = 0, missing = 0, unreadable = 0, refetched = 0 } = verified ?? {};
  const rows = [
    ...(state === 'done' ? [] : [[state, 'not all was verified']]),
    ['verified', `${countText(done)} (${bytesText(bytes)})`],
    ['damaged', `${countText(damaged)}${damaged > 0 ? ', in quarantine' : ''}`],
    ['missing', countText(missing)],
    ...(unreadable > 0 ? [['unreadable', countText(unreadable)]] : []),
    ['refetched', countText(refetched)],
  ];
  const told = problemList.map(({ subject, reason, detail }) => [subject, reason, detail]);
  const more = problems - problemList.length;
  return [
    alignedLines(rows),
    ...(told.length > 0 ? [alignedLines([['CONTENT', 'REASON', ''], ...told])] : []),
    ...(more > 0 ? [`and ${countText(more)} more\n`] : []),
  ].join('\n');
}
