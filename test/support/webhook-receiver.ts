import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { freePort } from './free-port.ts';
import { type Owner, thisTest } from './owner.ts';

/** A request that came. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The CloudEvent in it. */
  readonly event: Readonly<Record<string, unknown>>;
}

/** A receiver of webhooks on loopback. Unless the test says otherwise, it takes everything. */
export async function startWebhookReceiver(owner: Owner = thisTest): Promise<WebhookReceiver> {
  const receiver = new WebhookReceiver(`http://127.0.0.1:${await freePort()}/hook?key=1`);
  await receiver.start();
  owner(async () => receiver.stop());
  return receiver;
}

export class WebhookReceiver {
  readonly url: string;
  /** All that came, in order, whatever was answered. */
  readonly received: Received[] = [];
  /** Those that were answered with 204. */
  readonly taken: Received[] = [];
  /** @returns a status; or nothing, where it has answered by itself, or never does. */
  answer: (received: Received, response: ServerResponse) => number | undefined = () => 204;
  #changed = Promise.withResolvers<void>();
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  constructor(url: string) {
    this.url = url;
  }

  async start(): Promise<void> {
    const { port } = new URL(this.url);
    await once(this.#server.listen(Number(port), '127.0.0.1'), 'listening');
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Resolves when so many were taken. */
  async took(count: number): Promise<void> {
    while (this.taken.length < count) await this.#changed.promise;
  }

  /** Resolves when so many requests came. */
  async got(count: number): Promise<void> {
    while (this.received.length < count) await this.#changed.promise;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(Buffer.from(piece));
    const body = Buffer.concat(pieces).toString();
    const { method = '', url: path = '', headers } = request;
    const received = { method, path, headers, body, event: Object(JSON.parse(body)) };
    this.received.push(received);
    const status = this.answer(received, response);
    if (status === 204) this.taken.push(received);
    if (status !== undefined) response.writeHead(status).end();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Whether a request is signed with a secret (in base64, without prefix), as receivers check it by Standard Webhooks. */
export function isSignedWith(secret: string, { headers, body }: Received): boolean {
  const signed = [headers['webhook-id'], headers['webhook-timestamp'], body].join('.');
  const wanted = createHmac('sha256', Buffer.from(secret, 'base64')).update(signed).digest('base64');
  return String(headers['webhook-signature'])
    .split(' ')
    .some((signature) => signature === `v1,${wanted}`);
}
