import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { freePort } from './free-port.ts';
import { thisTest } from './owner.ts';

/** Somebody whom an evil upstream wants us to call. */
export interface Accomplice {
  readonly port: number;
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  connections(): number;
  /** Every byte that was told to it. */
  heard(): string;
}

/** Listens on every loopback address there is, takes whatever comes, and answers every request with `answer`. */
export async function startAccomplice(answer: (port: number) => string): Promise<Accomplice> {
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
