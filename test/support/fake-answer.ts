import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { Gate } from './gate.ts';

/** The honest answer of a registry. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** What goes wrong with one answer. Other parts stay honest. */
export interface Fault {
  readonly status?: number;
  /** Added to the answer's own. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Names of headers to leave out. */
  readonly withoutHeaders?: readonly string[];
  /** Other bytes than the honest ones: wrong, short or too many. Content-Length follows them. */
  readonly body?: (honest: Buffer) => Buffer;
  /** A Content-Length that lies, or none (the body goes in chunks). */
  readonly contentLength?: number | 'absent';
  /** Content-Encoding: gzip, asked for or not. */
  readonly gzip?: true;
  /** 307 to this address instead of the body. */
  readonly redirectTo?: (path: string) => string;
  readonly holdHeaders?: Gate;
  readonly holdBody?: { readonly afterBytes: number; readonly until: Gate };
  /** The test controls how the body is sent. */
  readonly pump?: Pump;
  /** The connection is destroyed after so many bytes of the body. */
  readonly cutAfterBytes?: number;
  /** The connection is destroyed instead of any answer. */
  readonly dropConnection?: true;
}

/** Sends a body byte by byte, controlled by the test. */
export interface Pump {
  /** Releases this many more bytes. */
  release(bytes: number): void;
  /** @returns how many of `wanted` may go now; waits until it is at least one. */
  take(wanted: number): Promise<number>;
}

export function pump(): Pump {
  let allowed = 0;
  let more = Promise.withResolvers<void>();
  return {
    release(bytes) {
      allowed += bytes;
      more.resolve();
      more = Promise.withResolvers();
    },
    async take(wanted) {
      while (allowed === 0) await more.promise;
      const taken = Math.min(allowed, wanted);
      allowed -= taken;
      return taken;
    },
  };
}

/** @param onBytes told about every piece of the body that left. */
export async function sendAnswer(
  exchange: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly path: string },
  honest: Answer,
  fault: Fault,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const { request, response, path } = exchange;
  const closed = new Promise<void>((resolve) => response.once('close', resolve));
  const waitFor = (gate: Gate): Promise<void> => Promise.race([gate.opened, closed]);
  if (fault.holdHeaders) await waitFor(fault.holdHeaders);
  if (fault.dropConnection) return void request.socket.destroy();
  const answer = faulty(honest, fault, path);
  response.writeHead(answer.status, answer.headers);
  if (request.method === 'HEAD') return void response.end();
  response.flushHeaders();
  for (let sent = 0; sent < answer.body.length && !response.destroyed; ) {
    if (sent === fault.cutAfterBytes) return void request.socket.destroy();
    if (sent === fault.holdBody?.afterBytes) await waitFor(fault.holdBody.until);
    const wanted = Math.min(64 * 1024, nextStop(sent, answer.body.length, fault) - sent);
    const allowed = fault.pump ? await Promise.race([fault.pump.take(wanted), closed.then(() => wanted)]) : wanted;
    await write(response, answer.body.subarray(sent, sent + allowed), closed);
    sent += allowed;
    onBytes(allowed);
  }
  if (fault.cutAfterBytes !== undefined) return void request.socket.destroy();
  response.end();
}

function faulty(honest: Answer, fault: Fault, path: string): Answer {
  const status = fault.redirectTo ? 307 : (fault.status ?? honest.status);
  const body = faultyBody(honest, fault);
  const headers = new Headers({
    ...honest.headers,
    'content-length': String(body.length),
    ...(fault.gzip && { 'content-encoding': 'gzip' }),
    ...(fault.redirectTo && { location: fault.redirectTo(path) }),
    ...fault.headers,
  });
  if (typeof fault.contentLength === 'number') headers.set('content-length', String(fault.contentLength));
  if (fault.contentLength === 'absent') headers.delete('content-length');
  for (const name of fault.withoutHeaders ?? []) headers.delete(name);
  return { status, headers: Object.fromEntries(headers), body };
}

function faultyBody(honest: Answer, fault: Fault): Buffer {
  if (fault.redirectTo) return Buffer.alloc(0);
  const replaced = fault.body?.(honest.body) ?? (fault.status === undefined ? honest.body : errorBody('UNKNOWN'));
  return fault.gzip ? gzipSync(replaced) : replaced;
}

function nextStop(sent: number, length: number, { holdBody, cutAfterBytes }: Fault): number {
  const stops = [holdBody?.afterBytes, cutAfterBytes].filter((stop) => stop !== undefined && stop > sent);
  return Math.min(length, ...stops.map(Number));
}

async function write(response: ServerResponse, bytes: Buffer, closed: Promise<void>): Promise<void> {
  const written = new Promise<void>((resolve) => response.write(bytes, () => resolve()));
  await Promise.race([written, closed]);
}

/** distribution-spec v1.1.1, "Error Codes". */
export function errorBody(code: string): Buffer {
  return Buffer.from(JSON.stringify({ errors: [{ code, message: 'said the fake registry' }] }));
}
