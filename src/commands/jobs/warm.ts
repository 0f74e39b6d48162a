import type { Job } from '../../http/management/api/jobs-routes.ts';
import { type Api, apiOf, exitCodeOf, exitCodes, type MirrorChoice, type Output } from '../api/client.ts';
import { ProgressBar, type ProgressOutput } from '../api/progress.ts';
import { bytesText, counted, countText } from '../../http/management/pages/drawing/words.ts';
import { alignedLines } from '../api/table.ts';
import { batchesOf } from './image-list.ts';
import { type FollowOptions, followJob, interruptible } from './follow-job.ts';
import { wantedImages, type WantedImages, type WarmSources } from './wanted-images.ts';

export interface WarmOptions extends MirrorChoice, Output, ProgressOutput, WarmSources, Pick<FollowOptions, 'pauseMs'> {
  /** `linux/amd64`, or `all`. None: those of the mirror's default. */
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  readonly json: boolean;
  readonly stop: AbortSignal;
}

/**
 * Lets the running mirror fetch images, and waits for it.
 * @returns the exit code: see exitCodes; 1 also when a part of an image could not be fetched, 130 when it was interrupted.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function warm(options: WarmOptions): Promise<number> {
  return exitCodeOf(() => interruptible(() => run(options), options), options);
}

async function run(options: WarmOptions): Promise<number> {
  const { json, print, printError } = options;
  const api = await apiOf(options);
  const wanted = await wantedImages(api, options);
  const jobs = await warmInTurn(api, wanted, options);
  const report = { ...reportOf(jobs), notOfTheMirror: wanted.others };
  print(json ? `${JSON.stringify(report, null, 2)}\n` : summaryText(jobs));
  if (!options.stop.aborted) printError(jobs.some(({ state }) => state === 'cancelled') ? cancelledByOthers : '');
  return jobs.every(isDone) ? exitCodes.done : exitCodes.failed;
}

const cancelledByOthers = 'the mirror is stopping, or somebody has cancelled the job: run this again to go on\n';

/** One job after another: each has at most so many images. */
async function warmInTurn(api: Api, { images }: WantedImages, options: WarmOptions): Promise<readonly Job[]> {
  const { platforms, referrers, stop, json, columns } = options;
  const bar = new ProgressBar(options);
  const jobs: Job[] = [];
  let first = 0;
  for (const batch of batchesOf(images)) {
    if (stop.aborted || jobs.at(-1)?.state === 'cancelled') break;
    const before = first;
    const body = {
      images: batch,
      ...(platforms.length > 0 && { platforms }),
      ...(referrers && { referrers }),
    };
    const told = new Set<string>();
    const onProgress = (job: Job) => {
      if (!json || columns) for (const line of newLines(job, told)) bar.line(line);
      bar.show(progressOf(job, { first: before, total: images.length }));
    };
    try {
      jobs.push(await followJob(api, { path: 'warm', body }, { ...options, onProgress }));
    } finally {
      bar.end();
    }
    first += batch.length;
  }
  return jobs;
}

function isDone({ state, images = [] }: Job): boolean {
  return state === 'done' && images.every((image) => image.state === 'done');
}

/** A line for each image that has ended since the last time. */
function newLines({ images = [] }: Job, told: Set<string>): readonly string[] {
  const ended = images.filter(({ state, image }) => state !== 'waiting' && state !== 'running' && !told.has(image));
  for (const { image } of ended) told.add(image);
  return ended.map(({ image, state, fetched, present }) => {
    const here = present.blobs > 0 ? `, ${countText(present.blobs)} blobs were there` : '';
    return `${image}: ${state}, fetched ${countText(fetched.blobs)} blobs (${bytesText(fetched.bytes)})${here}`;
  });
}

function progressOf({ done, bytes }: Job, { first, total }: { readonly first: number; readonly total: number }) {
  const ended = first + done;
  return { done: ended, total, text: `${ended} of ${total} images, ${bytesText(bytes)} fetched` };
}

function reportOf(jobs: readonly Job[]) {
  return {
    images: jobs.flatMap(({ images = [] }) => images),
    problems: jobs.flatMap(({ problemList }) => problemList),
    problemCount: jobs.reduce((sum, { problems }) => sum + problems, 0),
  };
}

/** Pure. */
function summaryText(jobs: readonly Job[]): string {
  const { images, problems, problemCount } = reportOf(jobs);
  const ofState = (wanted: string) => images.filter(({ state }) => state === wanted).length;
  const sumOf = (part: 'fetched' | 'present') => {
    const of = (key: 'manifests' | 'blobs' | 'bytes') => images.reduce((sum, image) => sum + image[part][key], 0);
    return `${countText(of('manifests'))} manifests, ${countText(of('blobs'))} blobs, ${bytesText(of('bytes'))}`;
  };
  const unended = images.length - ofState('done') - ofState('failed');
  const rows = [
    ['done', `${countText(ofState('done'))} of ${counted(images.length, 'image')}`],
    ...(ofState('failed') > 0 ? [['failed', counted(ofState('failed'), 'image')]] : []),
    ...(unended > 0 ? [['cancelled', `${counted(unended, 'image')}; run this again to go on`]] : []),
    ['fetched', sumOf('fetched')],
    ['stored before', sumOf('present')],
  ];
  const told = problems.map(({ image = '', subject, reason, detail }) => [image, subject, reason, detail]);
  const more = problemCount - problems.length;
  return [
    alignedLines(rows),
    ...(told.length > 0 ? [alignedLines([['IMAGE', 'PART', 'REASON', ''], ...told])] : []),
    ...(more > 0 ? [`and ${countText(more)} more\n`] : []),
  ].join('\n');
}
