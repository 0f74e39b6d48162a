import { once } from 'node:events';
import { createServer, type IncomingMessage, request as send, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Owner } from '../../test/support/owner.ts';
import type { Dice } from '../dice.ts';

const slowDown = `<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`;

export interface ThrottleDeps {
  /** Where the bucket listens. */
  readonly port: number;
  readonly dice: Dice;
  readonly onRefused: () => void;
}

/** Stands before a bucket, and refuses a share of its requests as S3 does that gets too many: 503 SlowDown. */
export class Throttle {
  port = 0;
  /** From 0 to 1. */
  share = 0;
  readonly #deps: ThrottleDeps;

  constructor(deps: ThrottleDeps) {
    this.#deps = deps;
  }

  async start(owner: Owner): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response));
    owner(async () => {
      server.close();
      server.closeAllConnections();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    this.port = typeof address === 'object' && address ? address.port : 0;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (!this.#deps.dice.isLucky(this.share)) return this.#forward(request, response);
    this.#deps.onRefused();
    request.resume();
    response.writeHead(503, { 'content-type': 'application/xml' }).end(request.method === 'HEAD' ? '' : slowDown);
  }

  #forward(request: IncomingMessage, response: ServerResponse): void {
    const { method, url: path, headers } = request;
    // The client has its 100 Continue from this server.
    const { expect: _, ...rest } = headers;
    const forwarded = send({ host: '127.0.0.1', port: this.#deps.port, method, path, headers: rest, agent: false });
    const cut = (): void => {
      forwarded.destroy();
      response.destroy();
    };
    response.once('close', () => forwarded.destroy());
    forwarded.once('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, response).catch(cut);
    });
    pipeline(request, forwarded).catch(cut);
  }
}
