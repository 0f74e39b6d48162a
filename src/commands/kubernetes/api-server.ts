import { readFile } from 'node:fs/promises';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { join } from 'node:path';
import { parseJson } from '../../oci/json.ts';

/** Where the API server is, and the account by which it is asked. */
export interface ApiServer {
  /** `https://10.96.0.1:443`. */
  readonly url: string;
  /** Holds `token` and `ca.crt`. Kubernetes renews the token, so both are read for each request. */
  readonly accountFolder: string;
}

/** The API server gave no answer, or a refusal. */
export class ApiServerFailure extends Error {
  override readonly name = 'ApiServerFailure';
  /** Undefined if there was no answer. */
  readonly status: number | undefined;

  constructor(message: string, { status, cause }: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, { cause });
    this.status = status;
  }
}

/** Where Kubernetes puts the service account of a pod. */
const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The API server of the cluster that this process runs in. @returns undefined outside of one. */
export function apiServerIn(env: Readonly<Record<string, string | undefined>>): ApiServer | undefined {
  const { KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (host === '') return undefined;
  return { url: `https://${host.includes(':') ? `[${host}]` : host}:${port}`, accountFolder };
}

export interface ApiServerQuestion {
  /** With its query: `/api/v1/pods?limit=100`. */
  readonly path: string;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Asks for an object, or for a page of a list. Redirects are not followed.
 * @throws ApiServerFailure; the signal's reason.
 */
export async function askApiServer(
  { url, accountFolder: folder }: ApiServer,
  question: ApiServerQuestion,
): Promise<unknown> {
  const { signal, maxBytes, path } = question;
  const token = await read(join(folder, 'token'));
  const ca = await readFile(join(folder, 'ca.crt')).catch(() => undefined); // Then those of the system count.
  const send = url.startsWith('https:') ? tlsRequest : plainRequest;
  const headers = { Authorization: `Bearer ${token}`, Accept: 'application/json' };
  const answered = Promise.withResolvers<IncomingMessage>();
  const asked = send(`${url}${path}`, { headers, signal, ...(ca && { ca }) }, answered.resolve);
  asked.on('error', answered.reject).end();
  try {
    const answer = await answered.promise;
    const { statusCode: status = 0 } = answer;
    if (status !== 200) throw new ApiServerFailure(`the API server answered ${status}`, { status });
    return parseJson(await readAtMost(answer, maxBytes));
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof ApiServerFailure) throw cause;
    throw new ApiServerFailure(`the API server gives no answer: ${String(cause)}`, { cause });
  } finally {
    asked.destroy();
  }
}

async function read(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new ApiServerFailure(`the service account has no ${file}`, { cause });
  }
}

/** @throws ApiServerFailure if it is longer. */
async function readAtMost(answer: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const arriving: AsyncIterable<Buffer> = answer; // It has no encoding.
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of arriving) {
    pieces.push(piece);
    bytes += piece.byteLength;
    if (bytes > maxBytes) throw new ApiServerFailure(`the API server answered with more than ${maxBytes} bytes`);
  }
  return Buffer.concat(pieces);
}
