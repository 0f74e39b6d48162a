import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { acceptedManifests } from '../../src/oci/media-types.ts';

const run = promisify(execFile);
const connections = 32;
const accept = acceptedManifests.join(', ');

export interface Load {
  readonly url: string;
  readonly seconds: number;
  readonly signal: AbortSignal;
}

/** Requests a manifest repeatedly on 32 connections from one thread. @throws Error if a response is not a 2xx. */
export async function askRepeatedly(
  wrk: string,
  { url, seconds, signal }: Load,
): Promise<{ readonly requests: number; readonly requestsPerSecond: number }> {
  const flags = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '-H', `Accept: ${accept}`];
  const { stdout } = await run(wrk, [...flags, url], { signal });
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`${url} did not always answer: ${stdout}`);
  return {
    requests: numberIn(stdout, /(\d+) requests in/),
    requestsPerSecond: numberIn(stdout, /Requests\/sec:\s+([\d.]+)/),
  };
}

/** Layerwell promises headers or an error within 25 s, so anything slower is a failure. */
const answersWithinMs = 30_000;

/** Pulls one manifest, as every client does before it pulls blobs. */
export async function pullManifest(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(answersWithinMs)]);
  const answer = await fetch(url, { headers: { accept }, signal: bounded });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (!answer.ok) throw new Error(`${url} answered ${answer.status} ${Buffer.from(bytes).toString()}`);
  return bytes;
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no ${pattern} in ${text}`);
  return Number(found);
}
