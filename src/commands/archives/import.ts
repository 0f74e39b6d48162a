import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import {
  archiveType,
  type ImportAnswer,
  imported as importedSchema,
} from '../../http/management/api/content/archive-routes.ts';
import { parseJson } from '../../oci/json.ts';
import {
  answerAs,
  ApiFailure,
  boundedText,
  exitCodeOf,
  exitCodes,
  type MirrorChoice,
  type Output,
  streamApiOf,
  innermostReason,
} from '../api/client.ts';
import { countedBytes, type ProgressOutput } from '../api/progress.ts';
import { bytesText, countText } from '../../http/management/pages/drawing/words.ts';
import { alignedLines } from '../api/table.ts';

export interface ImportOptions extends MirrorChoice, Output, ProgressOutput {
  /** Where the archive is read from; absent: from the standard input. */
  readonly archive: string | undefined;
  /** Undefined where it is a terminal. */
  readonly stdin: (() => AsyncIterable<Uint8Array>) | undefined;
  /** Each `<name in the archive>=<full name>`. */
  readonly names: readonly string[];
  readonly isPublic: boolean;
  readonly json: boolean;
  readonly stop: AbortSignal;
}

const maxAnswerBytes = 16 * 1024 * 1024;

/**
 * Lets the running mirror take the images of an OCI image layout.
 * @returns the exit code: see exitCodes; 1 also when an image of it could not be taken, 130 when it was interrupted.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function importImages(options: ImportOptions): Promise<number> {
  return exitCodeOf(async () => {
    try {
      const answer = await send(options);
      options.print(options.json ? `${JSON.stringify(answer, null, 2)}\n` : importedText(answer));
      return answer.images.every(({ problem }) => problem === undefined) ? exitCodes.done : exitCodes.failed;
    } catch (cause) {
      if (options.stop.aborted) return 130;
      throw cause;
    }
  }, options);
}

async function send(options: ImportOptions): Promise<ImportAnswer> {
  const { names, isPublic, stop } = options;
  const api = await streamApiOf(options);
  const { source, total } = await sourceOf(options);
  const query = new URLSearchParams({
    ...(names.length > 0 && { names: names.join(',') }),
    ...(isPublic && { public: 'true' }),
  });
  const { chunks } = countedBytes(source, options, total);
  const path = `import?${query.toString()}`;
  const answer = await api({ path, archive: { type: archiveType, bytes: chunks }, signal: stop });
  return answerAs(importedSchema, parseJson(await boundedText(answer, maxAnswerBytes)));
}

async function sourceOf({ archive, stdin }: ImportOptions) {
  if (archive === undefined || archive === '-') {
    if (stdin) return { source: stdin(), total: undefined };
    throw new ApiFailure(exitCodes.failed, 'this is a terminal: name the file of the archive, or send it to stdin');
  }
  try {
    const status = await stat(archive);
    if (status.isDirectory()) throw new Error('it is a folder, and no tar');
    return { source: readFrom(archive), total: status.isFile() ? status.size : undefined };
  } catch (cause) {
    throw new ApiFailure(exitCodes.failed, `${archive}: ${innermostReason(cause)}`, { cause });
  }
}

/** A file that cannot be read is no failure of the connection to the mirror. @throws ApiFailure */
async function* readFrom(archive: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of createReadStream(archive)) if (piece instanceof Uint8Array) yield piece;
  } catch (cause) {
    throw new ApiFailure(exitCodes.failed, `${archive}: ${innermostReason(cause)}`, { cause });
  }
}

/** Pure. */
function importedText({ images, written, bytes, present }: ImportAnswer): string {
  const rows = images.map(({ image, problem, manifests, blobs }) => [
    image,
    problem ?? `imported, ${countText(manifests)} manifests, ${countText(blobs)} blobs`,
  ]);
  const totals = [
    ['written', `${countText(written)} contents, ${bytesText(bytes)}`],
    ['stored before', `${countText(present)} contents`],
  ];
  return [...(rows.length > 0 ? [alignedLines(rows)] : []), alignedLines(totals)].join('\n');
}
