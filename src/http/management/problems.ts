import type { Handler, HttpContext } from '../server/context.ts';

/** The kinds of problems. `type` of the body is `/problems/` and the kind. */
export type ProblemKind =
  | 'host-refused'
  | 'origin-refused'
  | 'token-missing'
  | 'token-refused'
  | 'token-not-configured'
  | 'token-unreadable'
  | 'unknown-path'
  | 'method-not-allowed'
  | 'not-json'
  | 'wrong-type'
  | 'too-large'
  | 'too-slow'
  | 'invalid-request'
  | 'not-found'
  | 'refused'
  | 'already-runs'
  | 'unavailable'
  | 'upstream-failed'
  | 'upstream-unavailable'
  | 'internal-error';

const kinds: Readonly<Record<ProblemKind, { readonly status: number; readonly title: string }>> = {
  'host-refused': { status: 403, title: 'The Host of the request is not known' },
  'origin-refused': { status: 403, title: 'The request comes from another site' },
  'token-missing': { status: 401, title: 'The token is missing' },
  'token-refused': { status: 401, title: 'The token is wrong' },
  'token-not-configured': { status: 403, title: 'No token is configured' },
  'token-unreadable': { status: 503, title: 'The file with the token cannot be used' },
  'unknown-path': { status: 404, title: 'There is no such path' },
  'method-not-allowed': { status: 405, title: 'The path does not have this method' },
  'not-json': { status: 415, title: 'The body is not JSON' },
  'wrong-type': { status: 415, title: 'The body has another type' },
  'too-large': { status: 413, title: 'The body is too large' },
  'too-slow': { status: 408, title: 'The body did not arrive in time' },
  'invalid-request': { status: 400, title: 'The request is invalid' },
  'not-found': { status: 404, title: 'It is not in the cache' },
  'already-runs': { status: 409, title: 'It runs already' },
  refused: { status: 422, title: 'The mirror refuses this' },
  unavailable: { status: 503, title: 'The mirror cannot do this now' },
  'upstream-failed': { status: 502, title: 'The upstream gave no usable answer' },
  'upstream-unavailable': { status: 503, title: 'The upstream does not answer' },
  'internal-error': { status: 500, title: 'Internal error' },
};

export interface ProblemOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** Further members of the body. */
  readonly members?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An answer that is no success, as the management API writes it (RFC 9457). */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly kind: ProblemKind;
  readonly options: ProblemOptions;

  /** @param detail is for people. */
  constructor(kind: ProblemKind, detail: string, options: ProblemOptions = {}) {
    super(detail, { cause: options.cause });
    this.kind = kind;
    this.options = options;
  }
}

/** Answers every error of what follows with problem details. An unexpected error is a bug: it is answered 500, and reported. */
export function answerProblems(report: (bug: unknown) => void): Handler {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      if (!(error instanceof Problem) && !ctx.res.destroyed) report(error); // Else its client has left.
      writeProblem(ctx, error instanceof Problem ? error : new Problem('internal-error', 'the log has the reason'));
    }
  };
}

function writeProblem(ctx: HttpContext, { kind, message, options }: Problem): void {
  const { status, title } = kinds[kind];
  // What is left of a body is not read.
  if (hasBody(ctx.req.headers)) ctx.set('Connection', 'close');
  ctx.set({ ...options.headers });
  ctx.status = status;
  ctx.body = JSON.stringify({ type: `/problems/${kind}`, title, status, detail: message, ...options.members });
  ctx.set('Content-Type', 'application/problem+json');
}

/** What a problem is, for people. Pure. */
export function headingOf(kind: ProblemKind): { readonly status: number; readonly title: string } {
  return kinds[kind];
}

/** Whether a request has a body (RFC 9112 §6). Pure. */
export function hasBody(headers: Readonly<Record<string, unknown>>): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
