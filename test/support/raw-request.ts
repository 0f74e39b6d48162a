import { once } from 'node:events';
import { connect } from 'node:net';

/** One answer as it came over the wire. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/**
 * Sends bytes as they are, and reads until the other side closes.
 * @returns every answer that came, in order: what is no request must not get a second one.
 */
export async function sendRaw(host: string, text: string): Promise<readonly RawAnswer[]> {
  const { hostname, port } = new URL(`http://${host}`);
  const socket = connect(Number(port), hostname);
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.on('error', () => {}); // A reset is an end as well.
  socket.write(Buffer.from(text, 'latin1'));
  await once(socket, 'close');
  return answersIn(Buffer.concat(pieces).toString('latin1'));
}

function answersIn(text: string): readonly RawAnswer[] {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) return [];
  const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n');
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
  const length = Number(headers.get('content-length') ?? 0);
  const body = text.slice(end + 4, end + 4 + length);
  return [{ status: Number(statusLine.split(' ')[1]), headers, body }, ...answersIn(text.slice(end + 4 + length))];
}
