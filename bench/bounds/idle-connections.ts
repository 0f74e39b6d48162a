import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { image } from '../../test/support/images.ts';
import { AnswerReader } from '../clients/answer-reader.ts';
import { costOf } from '../measure.ts';
import type { Stage } from '../scenarios/stage.ts';
import type { Bound } from './bound.ts';
import { startPair } from './upstream.ts';

const mebibyte = 1024 ** 2;
const idleConnections = 10_000;
const inFlight = 1_000;
/** So many connections are opened at the same time: fewer than the listen queue of the kernel holds. */
const openedTogether = 200;
const warmUpMs = 2_000;
const measuredMs = 8_000;
/** With room for the idle connections and those with requests. */
const config = { clients: { maxConnections: 12_000 } };

/** Opens 10,000 connections that ask once and then stay idle; then 1,000 others ask for a cached manifest again and again, each for one at a time. */
export async function measureIdleConnections(stage: Stage): Promise<readonly Bound[]> {
  await using pair = await startPair(stage.site('idle-connections'), config);
  const held = image({ name: 'idle' });
  pair.registry.content.add('bench/idle', '1', held);
  const { hostname, port, host } = new URL(pair.layerwell.url);
  const request = Buffer.from(`GET /v2/bench/idle/manifests/1 HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  const sockets: Socket[] = [];
  const open = async () => {
    const socket = connect({ host: hostname, port: Number(port) });
    sockets.push(socket);
    await once(socket, 'connect');
    return new Client(socket, request);
  };
  const openMany = async (count: number) => {
    const clients: Client[] = [];
    while (clients.length < count) {
      const some = await Promise.all(Array.from({ length: Math.min(openedTogether, count - clients.length) }, open));
      await Promise.all(some.map((client) => client.ask()));
      clients.push(...some);
    }
    return clients;
  };
  try {
    const idle = await openMany(idleConnections);
    const busy = await openMany(inFlight);
    const load = async (ms: number) => {
      const until = performance.now() + ms;
      return (await Promise.all(busy.map((client) => client.askUntil(until)))).flat();
    };
    await load(warmUpMs);
    const { result: latencies, peakBytes } = await costOf(pair.layerwell.pid, () => load(measuredMs));
    const closed = idle.filter(({ isClosed }) => isClosed).length;
    const sorted = latencies.toSorted((one, other) => one - other);
    const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
    const beside = `${idleConnections} idle connections and ${inFlight} requests in flight`;
    return [
      { what: `${beside}: memory, MiB`, measured: peakBytes / mebibyte, limit: 400 },
      { what: `${beside}: p99 of a cached manifest, × median`, measured: at(0.99) / at(0.5), limit: 4 },
      { what: `${beside}: connections closed by the server`, measured: closed, limit: 0 },
    ];
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

/** One connection, with one request at a time. */
class Client {
  readonly #socket: Socket;
  readonly #request: Uint8Array;
  readonly #answers = new AnswerReader(() => undefined);
  #answered: { resolve: () => void; reject: (cause: unknown) => void } | undefined;

  constructor(socket: Socket, request: Uint8Array) {
    this.#socket = socket;
    this.#request = request;
    socket.on('data', (piece: Buffer) => this.#take(piece));
    socket.on('error', (cause) => this.#answered?.reject(cause));
    socket.on('close', () => this.#answered?.reject(new Error('the server closed a connection with a request')));
  }

  get isClosed(): boolean {
    return this.#socket.readableEnded || this.#socket.destroyed;
  }

  /** @throws Error unless the answer is 200. */
  ask(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#answered = { resolve, reject };
      this.#socket.write(this.#request);
    });
  }

  /** @returns how long each answer took, in milliseconds. */
  async askUntil(untilMs: number): Promise<readonly number[]> {
    const latencies: number[] = [];
    for (let startedAt = performance.now(); startedAt < untilMs; ) {
      await this.ask();
      const endedAt = performance.now();
      latencies.push(endedAt - startedAt);
      startedAt = endedAt;
    }
    return latencies;
  }

  #take(piece: Buffer): void {
    try {
      if (this.#answers.take(piece)) this.#answered?.resolve();
    } catch (cause) {
      this.#answered?.reject(cause);
    }
  }
}
