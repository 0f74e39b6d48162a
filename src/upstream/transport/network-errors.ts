import { errors } from 'undici';
import { UpstreamError } from '../../oci/errors.ts';
import { PrivateAddressError } from '../lookup/private-addresses.ts';

/** An upstream named an address that may not be connected to. */
export class ForbiddenAddress extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}

/** An upstream answered with a redirect that is not followed. */
export class RefusedRedirect extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}

const words = {
  connect: 'could not be reached',
  dns: 'could not be resolved',
  tls: 'could not be trusted',
  timeout: 'did not answer in time',
  misbehaving: 'broke the protocol',
  busy: 'could not be asked: this machine opens no more sockets',
} as const;

type NetworkReason = keyof typeof words;

/** The reasons of errors by code. Any other code that is not in a family below means that the connection failed. */
const reasonByCode: ReadonlyMap<string, NetworkReason> = new Map([
  ['EAI_AGAIN', 'dns'],
  ['EAI_FAIL', 'dns'],
  ['ENODATA', 'dns'],
  ['ENOTFOUND', 'dns'],
  ['EPROTO', 'tls'],
  // Limits of this machine: not the upstream's fault, so they must not open its circuit (connect(2), socket(2)).
  ['EMFILE', 'busy'],
  ['ENFILE', 'busy'],
  ['ENOBUFS', 'busy'],
  ['ENOMEM', 'busy'],
  // undici's own checks: a status below 100.
  ['ERR_ASSERTION', 'misbehaving'],
  ['ETIMEDOUT', 'timeout'],
  ['UND_ERR_CONNECT_TIMEOUT', 'timeout'],
  ['UND_ERR_HEADERS_OVERFLOW', 'misbehaving'],
  ['UND_ERR_HEADERS_TIMEOUT', 'timeout'],
  ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'misbehaving'],
]);

/** OpenSSL's certificate errors and Node's TLS errors (Node: "Errors", "X509 certificate error codes"). */
const tlsCode = /^(?:CERT_|CRL_|DEPTH_ZERO_|ERR_SSL_|ERR_TLS_|HOSTNAME_MISMATCH|INVALID_CA|SELF_SIGNED_|UNABLE_TO_)/;

/** Codes of sockets and DNS, not of files. */
const networkCode = /^(?:EAI_|ECONN|EHOST|ENET|ENOTFOUND|EPIPE|EPROTO|ETIMEDOUT|UND_ERR_)/;

/**
 * undici's errors if a connection is closed before all of Content-Length, or the last chunk, has arrived.
 */
const cutBody: ReadonlySet<string> = new Set(['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'Invalid EOF state']);

/** undici's message for an unexpected 100 or 101. Its code is that of a lost connection. */
const badAnswer = /^bad (?:upgrade|response)$/;

/**
 * The error for missing response headers from `host`. Its message has the host and the code of the cause, never a URL, whose query may
 * hold a signature.
 * @param cause the error of undici or Node.
 */
export function networkFailure(host: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  if (cause instanceof PrivateAddressError) return new ForbiddenAddress(cause.message, { cause });
  const reason = reasonOf(cause);
  return new UpstreamError(reason, `${host} ${words[reason]} (${codeOf(cause)})`, { cause: withoutBytes(cause) });
}

/** The error for a body from `host` that was cut. More than Content-Length never arrives. */
export function transferFailure(host: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  const reason = cutBody.has(codeOf(cause)) ? 'connect' : reasonOf(cause);
  const what = reason === 'connect' ? 'closed the connection within the body' : words[reason];
  return new UpstreamError(reason, `${host} ${what} (${codeOf(cause)})`, { cause: withoutBytes(cause) });
}

/** The reason of a network error; undefined for any other error. */
export function networkReasonOf(cause: unknown): NetworkReason | undefined {
  const code = codeOf(cause);
  return networkCode.test(code) || tlsCode.test(code) ? reasonOf(cause) : undefined;
}

/** Whether the peer closed a kept connection just as it was reused: then a retry is safe. */
export function isLostConnection(error: unknown): boolean {
  const cause = error instanceof UpstreamError ? error.cause : error;
  return !isNoHttp(cause) && ['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(codeOf(cause));
}

function reasonOf(cause: unknown): NetworkReason {
  if (isNoHttp(cause)) return 'misbehaving';
  const code = codeOf(cause);
  const known = reasonByCode.get(code);
  if (known !== undefined) return known;
  return tlsCode.test(code) ? 'tls' : 'connect';
}

/** By its class: many errors of undici's HTTP parser have no code. */
function isNoHttp(cause: unknown): cause is Error {
  if (cause instanceof errors.HTTPParserError) return true;
  return cause instanceof errors.SocketError && badAnswer.test(cause.message);
}

/** The code of an error; for invalid HTTP the parser's message, which holds no part of the answer. */
function codeOf(cause: unknown): string {
  if (isNoHttp(cause)) return /\(([^()]*)\)$/.exec(cause.message)?.[1] ?? cause.message;
  const hasCode = typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'string';
  return hasCode ? String(cause.code) : 'no code';
}

/** The parser's errors contain a part of the answer, which may hold a token. */
function withoutBytes(cause: unknown): unknown {
  return isNoHttp(cause) ? new Error(`the answer was not valid HTTP (${codeOf(cause)})`) : cause;
}
