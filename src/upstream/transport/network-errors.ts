import { errors } from 'undici';
import { UpstreamError } from '../../oci/errors.ts';
import { PrivateAddressError } from '../lookup/private-addresses.ts';

/** An upstream named an address that no connection may be made to. */
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

type NetworkTrouble = keyof typeof words;

/** What an error's code says of the network. What is neither here nor of a family below means that the connection failed. */
const troubleByCode: ReadonlyMap<string, NetworkTrouble> = new Map([
  ['EAI_AGAIN', 'dns'],
  ['EAI_FAIL', 'dns'],
  ['ENODATA', 'dns'],
  ['ENOTFOUND', 'dns'],
  ['EPROTO', 'tls'],
  // Limits of this machine: they say nothing of the upstream, and must not open its circuit (connect(2), socket(2)).
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

/** OpenSSL's verdicts on a certificate, and Node's own errors of TLS (Node: "Errors", "X509 certificate error codes"). */
const tlsCode = /^(?:CERT_|CRL_|DEPTH_ZERO_|ERR_SSL_|ERR_TLS_|HOSTNAME_MISMATCH|INVALID_CA|SELF_SIGNED_|UNABLE_TO_)/;

/** Of sockets and names, not of files. */
const networkCode = /^(?:EAI_|ECONN|EHOST|ENET|ENOTFOUND|EPIPE|EPROTO|ETIMEDOUT|UND_ERR_)/;

/**
 * What undici says where a connection that was not to be kept open is closed before all of Content-Length, or the last chunk, has come: its own
 * error, or what its parser says of an end in the middle.
 */
const cutBody: ReadonlySet<string> = new Set(['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'Invalid EOF state']);

/** What undici says of an answer that may not come now: 101 or 100 for a request that asked for neither. Its code is that of a lost connection. */
const badAnswer = /^bad (?:upgrade|response)$/;

/**
 * Why no headers came from `host`. Its message names the host and the code of the cause; never a URL, whose query may hold a
 * signature.
 * @param cause what undici or Node threw.
 */
export function networkFailure(host: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  if (cause instanceof PrivateAddressError) return new ForbiddenAddress(cause.message, { cause });
  const trouble = troubleOf(cause);
  return new UpstreamError(trouble, `${host} ${words[trouble]} (${codeOf(cause)})`, { cause: withoutBytes(cause) });
}

/** Why a body that had begun to arrive from `host` did not end as it should. More than Content-Length never comes. */
export function transferFailure(host: string, cause: unknown): UpstreamError {
  if (cause instanceof UpstreamError) return cause;
  const trouble = cutBody.has(codeOf(cause)) ? 'connect' : troubleOf(cause);
  const what = trouble === 'connect' ? 'closed the connection within the body' : words[trouble];
  return new UpstreamError(trouble, `${host} ${what} (${codeOf(cause)})`, { cause: withoutBytes(cause) });
}

/** What an error says of the network, or undefined where it is not about that. */
export function networkTroubleOf(cause: unknown): NetworkTrouble | undefined {
  const code = codeOf(cause);
  return networkCode.test(code) || tlsCode.test(code) ? troubleOf(cause) : undefined;
}

/** Whether a kept connection was closed by the other side just as we used it: asking once more is then no second try. */
export function isLostConnection(error: unknown): boolean {
  const cause = error instanceof UpstreamError ? error.cause : error;
  return !isNoHttp(cause) && ['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(codeOf(cause));
}

function troubleOf(cause: unknown): NetworkTrouble {
  if (isNoHttp(cause)) return 'misbehaving';
  const code = codeOf(cause);
  const known = troubleByCode.get(code);
  if (known !== undefined) return known;
  return tlsCode.test(code) ? 'tls' : 'connect';
}

/** By its class: of what undici's HTTP parser throws, many versions have no code. */
function isNoHttp(cause: unknown): cause is Error {
  if (cause instanceof errors.HTTPParserError) return true;
  return cause instanceof errors.SocketError && badAnswer.test(cause.message);
}

/** The code of an error; for invalid HTTP the parser's message, which contains nothing of the answer. */
function codeOf(cause: unknown): string {
  if (isNoHttp(cause)) return /\(([^()]*)\)$/.exec(cause.message)?.[1] ?? cause.message;
  const hasCode = typeof cause === 'object' && cause !== null && 'code' in cause && typeof cause.code === 'string';
  return hasCode ? String(cause.code) : 'no code';
}

/** The parser's errors have a piece of the answer attached, which may contain a token. */
function withoutBytes(cause: unknown): unknown {
  return isNoHttp(cause) ? new Error(`the answer was not valid HTTP (${codeOf(cause)})`) : cause;
}
