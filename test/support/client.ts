import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { Served } from './pull.ts';

export interface Question {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** An answer of which the headers are there; its body is read as the test says. */
export interface OpenAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The mirror's Cache-Status, without its name. */
  readonly cache: string;
  /** Of the body, so far. */
  readonly receivedBytes: number;
  /** Reads on until at least so many bytes are there, and takes them all. @throws when the body ends or breaks before. */
  read(bytes: number): Promise<Buffer>;
  /** The rest of the body. @throws when the connection breaks before its end. */
  rest(): Promise<Buffer>;
  /** Stops taking bytes until the next read. */
  pause(): void;
  hangUp(): void;
}

export interface WholeAnswer extends Pick<OpenAnswer, 'status' | 'headers' | 'cache'> {
  readonly body: Buffer;
}

/** Asks on a connection of its own, and resolves with the headers of the answer. */
export async function open(
  { url }: Served,
  path: string,
  { method = 'GET', headers = {}, body }: Question = {},
): Promise<OpenAnswer> {
  const asked = request(`${url}${path}`, { method, headers, agent: false });
  asked.end(body);
  const [response]: IncomingMessage[] = await once(asked, 'response');
  if (!response) throw new Error('no answer');
  asked.on('error', () => {}); // A reset is an error of the request too; `close` of the answer follows.
  return new Reading(response);
}

/** All of an answer. @throws when the connection breaks before its end. */
export async function ask(from: Served, path: string, question: Question = {}): Promise<WholeAnswer> {
  const answer = await open(from, path, question);
  const { status, headers, cache } = answer;
  return { status, headers, cache, body: await answer.rest() };
}

/** Whether a complete answer came: one that is cut, or none at all, is not. */
export async function isComplete(from: Served, path: string): Promise<boolean> {
  try {
    await ask(from, path);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when what was asked before has been read and looked up: questions asked after it have been answered, one after another. */
export async function caughtUp(from: Served): Promise<void> {
  for (let question = 0; question < 10; question += 1) await ask(from, '/v2/');
}

class Reading implements OpenAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly #response: IncomingMessage;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #received = 0;
  #end: 'complete' | 'broken' | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(response: IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    response.on('data', (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#bytes += piece.length;
      this.#received += piece.length;
      this.#tell();
    });
    response.on('error', () => {}); // `close` follows.
    response.once('close', () => {
      this.#end = response.complete ? 'complete' : 'broken';
      this.#tell();
    });
  }

  get cache(): string {
    return String(this.headers['cache-status'] ?? '').replace(/^layerwell; /, '');
  }

  get receivedBytes(): number {
    return this.#received;
  }

  async read(bytes: number): Promise<Buffer> {
    this.#response.resume();
    while (this.#bytes < bytes) {
      if (this.#end) throw new Error(`the body was ${this.#end} after ${this.#received} bytes`);
      await this.#changed.promise;
    }
    return this.#taken();
  }

  async rest(): Promise<Buffer> {
    this.#response.resume();
    while (!this.#end) await this.#changed.promise;
    if (this.#end === 'broken') throw new Error(`the answer was cut after ${this.#received} bytes`);
    return this.#taken();
  }

  pause(): void {
    this.#response.pause();
  }

  hangUp(): void {
    this.#response.destroy();
  }

  #taken(): Buffer {
    const taken = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    return taken;
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
