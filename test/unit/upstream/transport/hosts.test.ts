import { describe, expect, test } from 'vitest';
import { MemoryBudget } from '../../../../src/mirror/concurrency/memory-budget.ts';
import { hostMatcher, type ReceiveBuffer, ReceiveBuffers } from '../../../../src/upstream/transport/hosts.ts';

test.each([
  { listed: 'auth.docker.io', url: 'https://auth.docker.io/token', expected: true },
  { listed: 'AUTH.docker.io', url: 'https://auth.docker.io/token', expected: true },
  { listed: 'auth.docker.io', url: 'https://auth.docker.io:443/token', expected: true },
  { listed: 'auth.docker.io', url: 'https://auth.docker.io:8443/token', expected: false },
  { listed: 'auth.docker.io', url: 'https://evil-auth.docker.io', expected: false },
  { listed: 'auth.docker.io', url: 'https://auth.docker.io.evil.example', expected: false },
  { listed: 'auth.docker.io', url: 'https://authXdocker.io', expected: false },
  { listed: 'registry.corp:5000', url: 'https://registry.corp:5000/v2/', expected: true },
  { listed: 'registry.corp:5000', url: 'https://registry.corp/v2/', expected: false },
  { listed: 'registry.corp:80', url: 'http://registry.corp/v2/', expected: true },
  { listed: '*.r2.cloudflarestorage.com', url: 'https://abc.r2.cloudflarestorage.com/x', expected: true },
  { listed: '*.r2.cloudflarestorage.com', url: 'https://a.b.r2.cloudflarestorage.com/x', expected: false },
  { listed: '*.r2.cloudflarestorage.com', url: 'https://r2.cloudflarestorage.com/x', expected: false },
  { listed: '10.0.0.5:5000', url: 'http://10.0.0.5:5000/', expected: true },
  { listed: '[::1]:5000', url: 'http://[::1]:5000/', expected: true },
  { listed: '[::1]', url: 'https://[::1]/', expected: true },
  { listed: 'http://minio.corp:9000', url: 'http://minio.corp:9000/x', expected: true },
  { listed: 'http://minio.corp:9000', url: 'https://minio.corp:9000/x', expected: false },
  { listed: 'http://minio.corp:9000', url: 'http://minio.corp:9001/x', expected: false },
  { listed: 'http://minio.corp', url: 'http://minio.corp/x', expected: true },
  { listed: 'http://minio.corp', url: 'http://minio.corp:9000/x', expected: false },
  { listed: 'http://[::1]:9000', url: 'http://[::1]:9000/x', expected: true },
])('$listed lists $url: $expected', ({ listed, url, expected }) => {
  expect(hostMatcher(['other.example', listed])(new URL(url))).toBe(expected);
});

describe('where a connection receives', () => {
  const kib = 1024;
  const roomy = () => new MemoryBudget({ maxBytes: 64 * 1024 * kib });
  /** Receives so many bytes in one call. */
  const receive = (buffer: ReceiveBuffer, bytes: number, value = 0) => {
    buffer.next.fill(value, 0, bytes);
    return buffer.received(bytes);
  };

  test('more is taken in one call after a full one, and 64 KiB again where less arrives', () => {
    const buffer = new ReceiveBuffers(roomy()).open();
    const sizes = [64, 512, 512, 300, 10, 10].map((arrived) => {
      const { byteLength } = buffer.next;
      receive(buffer, arrived * kib);
      return byteLength / kib;
    });
    expect(sizes).toEqual([64, 512, 512, 512, 64, 64]);
  });

  test('a connection that receives little holds no memory, and neither does an idle one', () => {
    const memory = roomy();
    const buffers = new ReceiveBuffers(memory);
    const [one, other] = [buffers.open(), buffers.open()];
    receive(one, 10);
    receive(other, 64 * kib);
    expect(memory.reservedBytes).toBe(1024 * kib);
    receive(other, 100 * kib);
    expect(memory.reservedBytes).toBe(0);
    expect(one.next).toBe(other.next);
  });

  test('what was received is not changed by what comes next, on this connection or another', () => {
    const buffers = new ReceiveBuffers(roomy());
    const [one, other] = [buffers.open(), buffers.open()];
    const pieces = [64, 512, 512, 300, 10].flatMap((arrived, place) => [
      receive(one, arrived * kib, 2 * place),
      receive(other, arrived * kib, 2 * place + 1),
    ]);
    expect(pieces.map((piece) => new Set(piece))).toEqual(pieces.map((_, place) => new Set([place])));
    expect(new Set(pieces.map(({ buffer }) => buffer)).size).toBe(pieces.length);
    expect(pieces.map(({ buffer, byteLength }) => buffer.byteLength - byteLength)).toEqual(pieces.map(() => 0));
  });

  test('large buffers take a sixteenth of the memory budget, and a closed connection returns its own', () => {
    const memory = roomy();
    const buffers = new ReceiveBuffers(memory);
    const connections = Array.from({ length: 6 }, () => buffers.open());
    const nextAfterAFullCall = (buffer: ReceiveBuffer) => {
      receive(buffer, buffer.next.byteLength);
      return buffer.next.byteLength / kib;
    };
    expect(connections.map(nextAfterAFullCall)).toEqual([512, 512, 512, 512, 64, 64]);
    expect(memory.reservedBytes).toBe(memory.maxBytes / 16);
    connections[0]?.end();
    expect(connections.slice(4).map(nextAfterAFullCall)).toEqual([512, 64]);
    for (const connection of connections) connection.end();
    expect(memory.reservedBytes).toBe(0);
  });

  test('no large buffer is taken or kept while the memory budget has no room', async () => {
    const memory = roomy();
    const buffers = new ReceiveBuffers(memory);
    const [early, late] = [buffers.open(), buffers.open()];
    receive(early, 64 * kib);
    const { signal } = new AbortController();
    const held = await memory.reserve(memory.maxBytes - 1024 * kib, { signal });
    const waiting = memory.reserve(2 * 1024 * kib, { signal });
    for (const buffer of [early, late]) receive(buffer, buffer.next.byteLength);
    expect([early, late].map(({ next }) => next.byteLength / kib)).toEqual([64, 64]);
    held.release();
    (await waiting).release();
    expect(memory.reservedBytes).toBe(0);
  });
});
