import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  ApiFailure,
  exitCodeOf,
  exitCodes,
  type MirrorChoice,
  type Output,
  streamApiOf,
  innermostReason,
} from '../api/client.ts';
import { countedBytes, type ProgressOutput } from '../api/progress.ts';
import { bytesText } from '../../http/management/pages/drawing/words.ts';

export interface ExportOptions extends MirrorChoice, Output, ProgressOutput {
  readonly images: readonly string[];
  readonly platforms: readonly string[];
  readonly referrers: boolean;
  /** Where the archive is written; absent: to the standard output. */
  readonly output: string | undefined;
  /** Undefined where it is a terminal. */
  readonly stdout: (() => Writable) | undefined;
  readonly json: boolean;
  readonly stop: AbortSignal;
}

/**
 * Writes cached images as an OCI image layout. A file appears only when it is whole.
 * @returns the exit code: see exitCodes; 130 when it was interrupted.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function exportImages(options: ExportOptions): Promise<number> {
  return exitCodeOf(async () => {
    const { stop, json, output } = options;
    if (json && output === undefined) throw new ApiFailure(exitCodes.failed, '--json needs --output');
    if (output === undefined && !options.stdout)
      throw new ApiFailure(exitCodes.failed, 'this is a terminal: send the archive to a file, or name one by --output');
    try {
      const bytes = await write(options);
      if (json) options.print(`${JSON.stringify({ file: output, bytes }, null, 2)}\n`);
      else options.printError(`exported ${bytesText(bytes)}\n`);
    } catch (cause) {
      if (stop.aborted) return 130;
      throw cause;
    }
    return exitCodes.done;
  }, options);
}

async function write(options: ExportOptions): Promise<number> {
  const { images, platforms, referrers, output, stdout, stop } = options;
  const isReplaced = output !== undefined && (await mayBeReplaced(output));
  const api = await streamApiOf(options);
  const body = { images, ...(platforms.length > 0 && { platforms }), referrers };
  const { body: archive } = await api({ path: 'export', body, signal: stop });
  const counted = countedBytes(archive ?? [], options);
  if (output === undefined) {
    if (stdout) await pipeline(counted.chunks, stdout(), { signal: stop, end: false }).catch(broken);
  } else if (isReplaced) await writeWhole(output, counted.chunks, stop);
  else await pipeline(counted.chunks, createWriteStream(output), { signal: stop }).catch(broken);
  return counted.bytes();
}

/** Whether a file may come into its place; a device or a pipe is written to. @throws ApiFailure for a folder. */
async function mayBeReplaced(output: string): Promise<boolean> {
  const there = await stat(output).catch(() => undefined);
  if (there?.isDirectory()) throw new ApiFailure(exitCodes.failed, `${output} is a folder`);
  return there?.isFile() ?? true;
}

async function writeWhole(output: string, chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  const unfinished = `${output}.${randomBytes(4).toString('hex')}.partial`;
  try {
    await pipeline(chunks, createWriteStream(unfinished, { flags: 'wx', flush: true }), { signal });
    await rename(unfinished, output);
  } catch (cause) {
    await rm(unfinished, { force: true });
    broken(cause);
  }
}

/** Of this machine. Those of a connection have them in their cause. */
const fileCalls: ReadonlySet<unknown> = new Set(['open', 'write', 'writev', 'fsync', 'close', 'rename']);

function broken(cause: unknown): never {
  const isOfFile = cause instanceof Error && 'syscall' in cause && fileCalls.has(cause.syscall);
  const hint = isOfFile ? '' : '; the log of the mirror may say why';
  throw new ApiFailure(exitCodes.failed, `the archive is not whole: ${innermostReason(cause)}${hint}`, { cause });
}
