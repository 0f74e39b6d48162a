import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { freePort } from './free-port.ts';
import { thisTest } from './owner.ts';

/** A listener that a hostile upstream tries to make the mirror call. */
export interface Decoy {
  readonly port: number;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  connections(): number;
  /** Every byte it received. */
  heard(): string;
}

/** Listens on every loopback address, accepts every connection, and answers each request with `answer`. */
export async function startDecoy(answer: (port: number) => string): Promise<Decoy> {
  const port = await freePort();
  let [connections, heard] = [0, ''];
  const listen = (socket: Socket) => {
    connections += 1;
    socket.on('error', () => {});
    socket.setEncoding('latin1').on('data', (bytes: string) => {
      heard += bytes;
      socket.write(answer(port));
    });
  };
  const servers = await Promise.all(
    ['127.0.0.1', '::1'].map(async (address) => {
      const server = createServer(listen).listen(port, address);
      // Not every machine has IPv6.
      await Promise.race([once(server, 'listening'), once(server, 'error')]).catch(() => {});
      return server;
    }),
  );
  thisTest(async () => {
    for (const server of servers) server.close();
  });
  return { port, host: `127.0.0.1:${port}`, connections: () => connections, heard: () => heard };
}

/** An answer as it goes over the wire. */
export function wireAnswer(status: string, headers: Readonly<Record<string, string>>, body: string): string {
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(body)) });
  return `HTTP/1.1 ${status}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`;
}
