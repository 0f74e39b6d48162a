import type { Duplex } from 'node:stream';
import type { Connections, Pipelines } from './connections.ts';

/** Status lines for Node's parser errors; all others are 400. */
const statusLineByCode: ReadonlyMap<string, string> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
]);

/** Why a connection is cut: broken HTTP, a TLS handshake that failed, or a client that sends too little of either in time, or reads too slowly. */
export type CutReason = 'malformed' | 'tls' | 'slow_client';

/**
 * Answers malformed HTTP with the spec's error body, and closes the connection: it is unknown where the next request begins.
 */
export class BrokenRequests {
  readonly #connections: Pick<Connections, 'isAnswering' | 'isOpened'>;
  readonly #pipelines: Pick<Pipelines, 'isPaused'>;
  readonly #onCut: (reason: CutReason) => void;

  constructor(deps: {
    readonly connections: Pick<Connections, 'isAnswering' | 'isOpened'>;
    readonly pipelines: Pick<Pipelines, 'isPaused'>;
    /** Called for each connection that is closed, unless the client closed it. */
    readonly onCut?: ((reason: CutReason) => void) | undefined;
  }) {
    this.#connections = deps.connections;
    this.#pipelines = deps.pipelines;
    this.#onCut = deps.onCut ?? (() => {});
  }

  /**
   * Nothing is written into a running answer, nor to a client that has not finished its TLS handshake: the bytes would never be sent, and the
   * connection would never close.
   */
  refuse(error: Error & { readonly code?: string | undefined }, socket: Duplex): void {
    const code = error.code ?? '';
    if (code === 'ERR_HTTP_REQUEST_TIMEOUT' && this.#pipelines.isPaused(socket)) return; // The mirror itself stopped reading the headers.
    const reason = cutReasonOf(code);
    if (reason !== undefined) this.#onCut(reason);
    const mayWrite = socket.writable && this.#connections.isOpened(socket) && !this.#connections.isAnswering(socket);
    if (mayWrite) socket.end(answerTo(code), () => socket.destroy());
    else socket.destroy();
  }
}

/** @returns undefined if the client has left: a probe of a load balancer connects and leaves. */
function cutReasonOf(code: string): CutReason | undefined {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT' || code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'slow_client';
  if (code.startsWith('ERR_SSL_')) return 'tls';
  return code.startsWith('HPE_') ? 'malformed' : undefined;
}

function answerTo(code: string): string {
  const body = JSON.stringify({ errors: [{ code: 'UNKNOWN', message: 'the request cannot be read' }] });
  return [
    `HTTP/1.1 ${statusLineByCode.get(code) ?? '400 Bad Request'}`,
    'Docker-Distribution-Api-Version: registry/2.0',
    'X-Content-Type-Options: nosniff',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
