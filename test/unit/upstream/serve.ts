import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { freePort } from '../../support/free-port.ts';
import { thisTest } from '../../support/owner.ts';

export interface Seen {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage['headers'];
  /** The form that was posted, read before the server answers. */
  readonly form: URLSearchParams;
}

export interface Server {
  readonly url: string;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly seen: readonly Seen[];
  /** `GET /token`, in the order in which it happened. */
  story(): readonly string[];
}

/** A server on loopback that answers as the test says, for what no decent registry would do. */
export async function serve(answer: (seen: Seen, response: ServerResponse) => void): Promise<Server> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method = '', headers } = request;
      const one = { method, url: new URL(request.url ?? '/', url), headers, form: new URLSearchParams(body) };
      seen.push(one);
      answer(one, response);
    });
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.close();
    server.closeAllConnections();
  });
  return { url, host: `127.0.0.1:${port}`, seen, story: () => seen.map((one) => `${one.method} ${one.url.pathname}`) };
}

export function sendJson(
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}
