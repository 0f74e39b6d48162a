import { expect, test, vi } from 'vitest';
import { freePort } from './free-port.ts';

async function ports(count: number): Promise<readonly number[]> {
  const given: number[] = [];
  while (given.length < count) given.push(await freePort());
  return given;
}

test('a port is not given to another server while its own one is stopped', async () => {
  expect(new Set(await ports(500)).size).toBe(500);
});

test('a worker of the tests takes no port of another one', async () => {
  vi.stubEnv('VITEST_POOL_ID', '1');
  const first = await ports(100);
  vi.stubEnv('VITEST_POOL_ID', '2');
  const second = await ports(100);
  expect(Math.max(...first)).toBeLessThan(24_000);
  expect(Math.min(...second)).toBeGreaterThanOrEqual(24_000);
});
