import { connect } from 'node:net';

export interface WireAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export interface WireExchange {
  /** Everything that came. */
  readonly received: Buffer;
  /** Whether the other side closed, or just fell silent: it waits for more of a request. */
  readonly end: 'closed' | 'silent';
}

/** Sends bytes as they are, and reads what comes until the other side closes, or sends nothing for so long. */
export function sendBytes(host: string, bytes: Buffer, { silentMs = 2_000 } = {}): Promise<WireExchange> {
  const { hostname, port } = new URL(`http://${host}`);
  const socket = connect(Number(port), hostname);
  const pieces: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<WireExchange>();
  const finish = (end: WireExchange['end']): void => {
    resolve({ received: Buffer.concat(pieces), end });
    socket.destroy();
  };
  socket.setTimeout(silentMs, () => finish('silent'));
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.on('error', () => {}); // A reset is an end as well.
  socket.once('close', () => finish('closed'));
  socket.write(bytes);
  return promise;
}

/** The status of every answer among what came, however it was framed. */
export function statusesIn(received: Buffer): readonly number[] {
  return [...received.toString('latin1').matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

/**
 * Every answer, in order.
 * @param methods of the requests: the answer to a HEAD has no body, whatever it says.
 * @throws Error when what came is no series of answers, each with its length.
 */
export function answersIn(received: Buffer, methods: readonly string[]): readonly WireAnswer[] {
  const answers: WireAnswer[] = [];
  for (let at = 0; at < received.length; ) {
    const { answer, end } = answerAt(received, at, methods[answers.length] ?? 'GET');
    answers.push(answer);
    at = end;
  }
  return answers;
}

function answerAt(received: Buffer, at: number, method: string): { answer: WireAnswer; end: number } {
  const bodyAt = received.indexOf('\r\n\r\n', at) + 4;
  const head = received.subarray(at, bodyAt).toString('latin1');
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(head) ?? [];
  if (status === undefined) throw new Error(`no answer: ${received.subarray(at, at + 200).toString('latin1')}`);
  const headers = headersIn(head);
  const length = method === 'HEAD' || status === '304' ? 0 : Number(headers.get('content-length'));
  const body = received.subarray(bodyAt, bodyAt + length);
  if (body.length !== length) throw new Error(`${body.length} bytes of ${length} came`);
  return { answer: { status: Number(status), headers, body }, end: bodyAt + length };
}

function headersIn(head: string): ReadonlyMap<string, string> {
  const lines = head.trimEnd().split('\r\n').slice(1);
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
}
