import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configOf } from '../support/config.ts';

const root = resolve(import.meta.dirname, '../..');
const dockerfile = readFileSync(resolve(root, 'Dockerfile'), 'utf8');

describe('the container image', () => {
  test('has a valid configuration, listens outside the container and stores its content in the volume', async () => {
    const text = execFileSync(process.execPath, [resolve(root, 'scripts/image-config.ts')], { encoding: 'utf8' });
    const config = await configOf(text);
    expect(config).toMatchObject({
      listen: { host: '::', port: 5000 },
      management: { host: '::', port: 5001 },
      storage: { path: '/data' },
    });
    expect(config.upstreams).toHaveLength(10);
    expect(dockerfile).toContain('VOLUME /data');
  });

  test('copies only files that its build may see', () => {
    const allowed = readFileSync(resolve(root, '.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(
      ([, files]) => files?.split(' ') ?? [],
    );
    expect(copied.toSorted()).toEqual(allowed.toSorted());
  });

  test('runs as an unprivileged user, with a health check of the management port', () => {
    expect(dockerfile).toMatch(/^USER 65532:65532$/m);
    expect(dockerfile).toContain("fetch('http://127.0.0.1:5001/healthz')");
  });
});
