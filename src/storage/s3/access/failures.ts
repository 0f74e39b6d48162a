import { type FailureReason, UpstreamError } from '../../../oci/errors.ts';
import { isJsonObject } from '../../../oci/json.ts';

/** What a failed call means: the object is not there; a condition of the request was not met; or why there is no usable answer. */
export type BucketOutcome = 'absent' | 'precondition' | 'rejected' | FailureReason;

/** Names of S3's errors, "Error responses" of the Amazon S3 API Reference, and of the SDK's. */
const outcomeByName: Readonly<Record<string, BucketOutcome>> = {
  NoSuchKey: 'absent',
  NoSuchUpload: 'absent',
  NotFound: 'absent', // HEAD has no body with a name.
  PreconditionFailed: 'precondition',
  ConditionalRequestConflict: 'precondition',
  InvalidRange: 'rejected',
  InvalidObjectState: 'rejected', // It is in an archive.
  NoSuchBucket: 'refused',
  PermanentRedirect: 'refused',
  CredentialsProviderError: 'refused',
  SlowDown: 'overloaded',
  ThrottlingException: 'overloaded',
  TooManyRequests: 'overloaded',
  RequestTimeout: 'timeout',
  TimeoutError: 'timeout',
};

/** The SDK calls these timeouts. */
const lostCodes: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE', 'ECONNREFUSED', 'UND_ERR_SOCKET']);
const dnsCodes: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL']);

/** What an error of the SDK means. Pure. */
export function outcomeOf(error: unknown): BucketOutcome {
  const { name = '', code = '', status } = factsOf(error);
  if (lostCodes.has(code)) return 'connect';
  const named = outcomeByName[name];
  if (named !== undefined) return named;
  if (dnsCodes.has(code)) return 'dns';
  if (/CERT|TLS|SSL/.test(code)) return 'tls';
  return status === undefined ? 'connect' : outcomeOfStatus(status);
}

function outcomeOfStatus(status: number): BucketOutcome {
  if (status === 304 || status === 412) return 'precondition';
  if (status === 404) return 'absent';
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) return 'refused';
  if (status === 429 || status === 503) return 'overloaded';
  return status >= 500 ? 'unavailable' : 'rejected';
}

/** Whether the bucket itself may be at fault, and not the one request. Pure. */
export function isFailureOfBucket(outcome: BucketOutcome): outcome is FailureReason {
  return outcome !== 'absent' && outcome !== 'precondition' && outcome !== 'rejected';
}

/**
 * The error of a call that got no usable answer. Of the SDK's error only the name, the message and the status are kept: the rest may hold the
 * request with its signature.
 */
export function bucketError(operation: string, outcome: BucketOutcome, cause?: unknown): UpstreamError {
  const { name, message, status } = factsOf(cause);
  const reason = isFailureOfBucket(outcome) ? outcome : 'misbehaving';
  return new UpstreamError(reason, `the shared bucket gave no usable answer to ${operation}`, {
    ...(message !== undefined && { cause: new Error(`${name}: ${message}`) }),
    upstreamStatus: status,
  });
}

interface ErrorFacts {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string;
  readonly status?: number | undefined;
}

function factsOf(error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return {};
  const metadata = '$metadata' in error && isJsonObject(error.$metadata) ? error.$metadata : {};
  const status = metadata['httpStatusCode'];
  return {
    name: error.name,
    message: error.message,
    code: 'code' in error ? String(error.code) : '',
    ...(typeof status === 'number' && { status }),
  };
}
