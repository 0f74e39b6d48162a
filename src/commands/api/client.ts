import { loadManagement, type LoadOptions } from '../../config/loading/load.ts';
import { readText, readToken } from '../../config/loading/files.ts';
import { leastSecretBytes } from '../../config/sections/cluster.ts';
import { isJsonObject, type JsonObject, parseJson } from '../../oci/json.ts';
import { authorityOf } from '../health.ts';

/** How a command finds the running mirror. */
export interface MirrorChoice extends Pick<LoadOptions, 'file' | 'env'> {
  /** The URL of its management listener, instead of the one in the configuration. */
  readonly server?: string | undefined;
  /** The file with its token, likewise. */
  readonly tokenFile?: string | undefined;
}

/** What commands print to. */
export interface Output {
  readonly print: (text: string) => void;
  readonly printError: (text: string) => void;
}

/** The exit codes of commands that ask a running mirror; 2: the configuration is invalid. */
export const exitCodes = { done: 0, failed: 1, unreachable: 3, refused: 4 } as const;

/** The mirror did not do what a command asked for. The message is one line for people. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly exitCode: number;
  /** The word of the problem, if the mirror answered with one: `unavailable`. */
  readonly problem: string | undefined;

  constructor(
    exitCode: number,
    message: string,
    options: ErrorOptions & { readonly problem?: string | undefined } = {},
  ) {
    super(message, options);
    this.exitCode = exitCode;
    this.problem = options.problem;
  }
}

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'DELETE';
  readonly body?: JsonObject;
  /** How long the answer may take. */
  readonly withinMs?: number;
}

/** Asks for a path below `/api/v1/`. @throws ApiFailure */
export type Api = (path: string, request?: ApiRequest) => Promise<unknown>;

const json = 'application/json';
const answersWithinMs = 30_000;
/** Far more than a page of any list. */
const maxAnswerBytes = 16 * 1024 * 1024;

/** The API of a running mirror. @throws ConfigError when the configuration is needed and does not say where it is; ApiFailure. */
export async function apiOf({ file, env, server, tokenFile }: MirrorChoice): Promise<Api> {
  const { base, token } = await placeOf({ file, env, server, tokenFile });
  return (path, request) => ask(`${base}/api/v1/${path}`, token, request);
}

async function placeOf({ file, env, server, tokenFile }: MirrorChoice) {
  const configured = server === undefined ? await loadManagement({ file, env }) : undefined;
  const base = configured ? `http://${authorityOf(configured)}` : serverUrl(server ?? '');
  return { base, token: await tokenIn(tokenFile, configured?.tokenFile) };
}

function authorization(token: string | undefined) {
  return token === undefined ? {} : { Authorization: `Bearer ${token}` };
}

function serverUrl(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
  throw failure(`--server ${text}: expected a URL such as "http://127.0.0.1:5001"`);
}

/** The file in the configuration may be readable for the mirror only; reading needs no token on a loopback address. */
async function tokenIn(chosen: string | undefined, configured: string | undefined): Promise<string | undefined> {
  const path = chosen ?? configured;
  if (path === undefined || (chosen === undefined && !(await isReadable(path)))) return undefined;
  try {
    return await readToken(path, leastSecretBytes);
  } catch (cause) {
    const key = chosen === undefined ? 'management.tokenFile' : '--token-file';
    throw new ApiFailure(exitCodes.failed, `${key}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

async function isReadable(path: string): Promise<boolean> {
  return readText(path).then(
    () => true,
    () => false,
  );
}

async function ask(
  url: string,
  token: string | undefined,
  { method = 'GET', body, withinMs = answersWithinMs }: ApiRequest = {},
): Promise<unknown> {
  const headers = {
    ...authorization(token),
    ...(body && { 'Content-Type': json }),
  };
  const signal = AbortSignal.timeout(withinMs);
  try {
    const sent = body && { body: JSON.stringify(body) };
    const answer = await fetch(url, { method, headers, signal, redirect: 'error', ...sent });
    return valueOf(url, answer.status, parseJson(await boundedText(answer, maxAnswerBytes)));
  } catch (cause) {
    return unreachable(url, cause);
  }
}

/** A request of which the bodies are streams: an archive. */
export interface StreamRequest {
  readonly path: string;
  readonly body?: JsonObject;
  /** Sent instead, with its type. */
  readonly archive?: { readonly type: string; readonly bytes: AsyncIterable<Uint8Array> };
  readonly signal: AbortSignal;
}

/** Asks with, or for, an archive, however long that takes. The answer is a success, and is to be read. @throws ApiFailure */
export type StreamApi = (request: StreamRequest) => Promise<Response>;

/** As {@link apiOf}. */
export async function streamApiOf(choice: MirrorChoice): Promise<StreamApi> {
  const { base, token } = await placeOf(choice);
  return async ({ path, body, archive, signal }) => {
    const url = `${base}/api/v1/${path}`;
    const sent = archive ?? { bytes: JSON.stringify(body), type: json };
    const headers = { ...authorization(token), 'Content-Type': sent.type };
    const options = { method: 'POST', headers, redirect: 'error', duplex: 'half', body: sent.bytes, signal } as const;
    const answer = await fetch(url, options).catch((cause: unknown) => unreachable(url, cause, signal));
    if (answer.status >= 400) valueOf(url, answer.status, parseJson(await boundedText(answer, maxAnswerBytes)));
    return answer;
  };
}

function unreachable(url: string, cause: unknown, signal?: AbortSignal): never {
  signal?.throwIfAborted();
  for (let one = cause; one instanceof Error; one = one.cause) if (one instanceof ApiFailure) throw one;
  const message = `no mirror answers at ${new URL(url).origin}: ${innermostReason(cause)}`;
  throw new ApiFailure(exitCodes.unreachable, message, { cause });
}

/** The body of an answer. What listens there need not be a mirror. @throws if it is longer. */
export async function boundedText({ body }: Response, maxBytes: number): Promise<string> {
  const pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = body ?? [];
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of pieces) {
    text += decoder.decode(piece, { stream: true });
    if (text.length > maxBytes) throw new Error('its answer is too long');
  }
  return text;
}

function valueOf(url: string, status: number, value: unknown): unknown {
  if (status < 400 && value !== undefined) return value;
  const { detail, problems, type } = isJsonObject(value) ? value : {};
  if (typeof detail !== 'string') {
    throw new ApiFailure(exitCodes.failed, `${url} answers ${status}: it is not the management API of this version`);
  }
  const isRefused = status === 401 || status === 403;
  const lines = Array.isArray(problems) ? problems.map((problem) => `\n  ${String(problem)}`) : [];
  const problem = typeof type === 'string' ? type.replace(/^\/problems\//, '') : undefined;
  throw new ApiFailure(isRefused ? exitCodes.refused : exitCodes.failed, `${detail}${lines.join('')}`, { problem });
}

/** The words of the innermost cause: `fetch failed` alone says nothing. Pure. */
export function innermostReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? innermostReason(error.cause) : error.message || error.name;
}

/** A failure that is not the mirror's: of an option, or of this machine. */
export function failure(message: string): ApiFailure {
  return new ApiFailure(exitCodes.failed, message);
}

/** An answer, typed by its schema. @param hint is added for who reads that the answer has another form. @throws ApiFailure when it has. Pure. */
export function answerAs<Answer>(
  schema: { safeParse(answer: unknown): { readonly data?: Answer | undefined } },
  answer: unknown,
  hint = '',
): Answer {
  const { data } = schema.safeParse(answer);
  if (data !== undefined) return data;
  throw failure(`the mirror is of another version than this command${hint}`);
}

/** Printed with an answer that a command cannot show as a text. */
export const tryJson = '; try --json';

/** Runs a command; its failures are printed as words. @returns the exit code. @throws ConfigError, and what is a bug. */
export async function exitCodeOf(work: () => Promise<number | void>, { printError }: Output): Promise<number> {
  try {
    return (await work()) ?? exitCodes.done;
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error;
    printError(`${printable(error.message)}\n`);
    return error.exitCode;
  }
}

/** Without control characters, which a terminal would obey; line breaks stay. Pure. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{C}\n]/gu, '\uFFFD');
}
