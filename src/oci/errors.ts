/**
 * The codes a registry may answer with, and their HTTP status.
 * Source: OCI distribution-spec v1.1.1, "Error Codes"; RANGE_INVALID, TAG_INVALID, PAGINATION_NUMBER_INVALID and UNKNOWN
 * are those of docker/distribution, which clients know as well; HEADERS_TOO_MANY and RANGES_TOO_MANY are our own.
 */
const statusByCode = {
  BLOB_UNKNOWN: 404,
  DENIED: 403,
  DIGEST_INVALID: 400,
  HEADERS_TOO_MANY: 431,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  PAGINATION_NUMBER_INVALID: 400,
  RANGES_TOO_MANY: 400,
  RANGE_INVALID: 416,
  TAG_INVALID: 400,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNSUPPORTED: 405,
} as const;

export type OciErrorCode = keyof typeof statusByCode;

/** An answer: an error that the client gets with a code of the spec. */
export class OciError extends Error {
  override readonly name = 'OciError';
  readonly code: OciErrorCode;
  readonly detail: unknown;
  /** The upstream's status, if the mirror answers with another: its 401 is our 403. */
  readonly upstreamStatus: number | undefined;

  constructor(
    code: OciErrorCode,
    message: string,
    more: { detail?: unknown; cause?: unknown; upstreamStatus?: number | undefined } = {},
  ) {
    super(message, { cause: more.cause });
    this.code = code;
    this.detail = more.detail;
    this.upstreamStatus = more.upstreamStatus;
  }

  get status(): number {
    return statusByCode[this.code];
  }
}

/**
 * Why there is no usable answer, and the status a client gets if nothing older can be served.
 *
 *     connect, dns, tls   the upstream was not reached       503
 *     timeout             it did not answer in time          504
 *     overloaded          429, ours or the upstream's        429
 *     unavailable         5xx                                503
 *     refused             it refused the mirror's account    502
 *     misbehaving         wrong bytes, broken protocol       502
 *     busy                a limit of the mirror is reached   503
 *
 * While the circuit of an upstream is open, the reason is that of its last failure.
 */
const statusByReason = {
  connect: 503,
  dns: 503,
  tls: 502,
  timeout: 504,
  overloaded: 429,
  unavailable: 503,
  refused: 502,
  misbehaving: 502,
  busy: 503,
} as const;

export type FailureReason = keyof typeof statusByReason;

/** No usable answer came, so the mirror may serve something older. An {@link OciError} is an answer. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError';
  readonly reason: FailureReason;
  /** The upstream's Retry-After, in seconds. */
  readonly retryAfterSeconds: number | undefined;
  /** The upstream's HTTP status, if it answered. */
  readonly upstreamStatus: number | undefined;

  constructor(
    reason: FailureReason,
    message: string,
    more: { cause?: unknown; retryAfterSeconds?: number | undefined; upstreamStatus?: number | undefined } = {},
  ) {
    super(message, { cause: more.cause });
    this.reason = reason;
    this.retryAfterSeconds = more.retryAfterSeconds;
    this.upstreamStatus = more.upstreamStatus;
  }

  get status(): number {
    return statusByReason[this.reason];
  }
}

/** Other bytes came than the digest names. */
export class DigestMismatch extends UpstreamError {
  /** @param sender the host, where it is known. */
  constructor(expected: string, actual: string, sender = 'the upstream') {
    super('misbehaving', `${sender} sent ${actual} where ${expected} was asked for`);
  }
}
