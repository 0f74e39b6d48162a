import { startRawServer } from '../../support/raw-server.ts';

export interface RawServer {
  readonly url: string;
  /** The first lines of what it was asked, in the order in which it happened. */
  readonly asked: readonly string[];
}

/** What is written for the request with this first line, before the connection is closed. */
export type RawAnswer = (request: string) => string;

/** A raw server that answers with text, and remembers what it was asked. */
export async function serveBytes(answer: RawAnswer): Promise<RawServer> {
  const asked: string[] = [];
  const url = await startRawServer((socket, text) => {
    const [request = ''] = text.split('\r\n');
    asked.push(request);
    socket.end(answer(request), 'latin1');
  });
  return { url, asked };
}

const bytes = '{"schemaVersion":2}';

/** Answers that are no HTTP, by what is wrong with them. */
export const brokenHeads: Readonly<Record<string, string>> = {
  'a status that is no number': 'HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n',
  'a status below 100': `HTTP/1.1 099 OK\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`,
  'a status of four digits': 'HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n',
  'a status above 599': 'HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n',
  'another protocol': 'SSH-2.0-OpenSSH_9.9\r\n',
  'TLS where HTTP was asked for': '\x15\x03\x01\x00\x02\x02\x16',
  'an upgrade that was not requested': 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
  'a 100 that was not requested': `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`,
  'a control character in a header': 'HTTP/1.1 200 OK\r\nX-Note: a\x01b\r\nContent-Length: 0\r\n\r\n',
  'a space in the name of a header': 'HTTP/1.1 200 OK\r\nX Note: ab\r\nContent-Length: 0\r\n\r\n',
  'headers of 200 KB': `HTTP/1.1 200 OK\r\nX-Note: ${'a'.repeat(200_000)}\r\nContent-Length: 0\r\n\r\n`,
  'lines that end without a carriage return': `HTTP/1.1 200 OK\nContent-Length: ${bytes.length}\n\n${bytes}`,
  'a negative Content-Length': `HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n${bytes}`,
  'two Content-Lengths': `HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`,
  'both Content-Length and Transfer-Encoding':
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
};
