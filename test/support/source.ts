import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { freePort } from './free-port.ts';
import type { Gate } from './gate.ts';
import { type Owner, thisTest } from './owner.ts';

/** What a source is asked. */
export interface SourceRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface SourceAnswer {
  readonly status: number;
  /** A text is sent as it is. */
  readonly body: object | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Something on a socket that hands out what proves an account: a token endpoint, the API of a cloud, a metadata service. */
export interface Source {
  readonly url: string;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  /** Every request so far, be it answered or not. */
  readonly asked: readonly SourceRequest[];
  /** From now on nothing is answered before the gate opens. */
  hold(until: Gate): void;
  /** Connections are refused from now on. */
  stop(): Promise<void>;
}

export async function startSource(
  answer: (request: SourceRequest) => SourceAnswer,
  owner: Owner = thisTest,
): Promise<Source> {
  const port = await freePort();
  const [host, asked] = [`127.0.0.1:${port}`, [] as SourceRequest[]];
  let held: Gate | undefined;
  const server = createServer((request, response) => {
    void text(request).then(async (body) => {
      const { method = '', headers } = request;
      const seen = { method, url: new URL(request.url ?? '/', `http://${host}`), headers, body };
      asked.push(seen);
      await held?.opened;
      const { status, body: answered, headers: more } = answer(seen);
      const [type, sent] =
        typeof answered === 'string' ? ['text/plain', answered] : ['application/json', JSON.stringify(answered)];
      response.writeHead(status, { 'content-type': type, ...more }).end(sent);
    });
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  const stop = async () => {
    server.close();
    server.closeAllConnections();
  };
  owner(stop);
  const hold = (until: Gate) => {
    held = until;
  };
  return { url: `http://${host}`, host, asked, hold, stop };
}
