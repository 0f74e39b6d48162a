import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { generatedFiles } from '../../../scripts/generated-files.ts';
import { loadConfig } from '../../../src/config/loading/load.ts';

const root = resolve(import.meta.dirname, '../../..');

describe('the shipped mirror.config.json', () => {
  test('works unchanged and without environment variables for the common public registries', async () => {
    const config = await loadConfig({ file: join(root, 'mirror.config.json'), env: {} });
    expect(config.upstreams.map(({ name }) => name)).toEqual([
      'docker.io',
      'ghcr.io',
      'quay.io',
      'gcr.io',
      '*.gcr.io',
      '*.pkg.dev',
      'registry.k8s.io',
      'mcr.microsoft.com',
      'public.ecr.aws',
      'registry.gitlab.com',
    ]);
    expect(config.defaultUpstream).toBe('docker.io');
    expect(config.listen.host).toBe('127.0.0.1');
  });

  test('contains no credentials, and includes the token host of Docker Hub', async () => {
    const { upstreams } = await loadConfig({ file: join(root, 'mirror.config.json'), env: {} });
    expect(upstreams.flatMap(({ credentials }) => credentials)).toEqual([]);
    expect(upstreams[0]).toMatchObject({
      url: 'https://registry-1.docker.io',
      aliases: ['index.docker.io', 'registry-1.docker.io'],
      realmHosts: ['auth.docker.io'],
    });
  });
});

test.each(await generatedFiles(root))('$path matches the schema (npm run schema)', ({ path, text }) => {
  expect(readFileSync(join(root, path), 'utf8')).toBe(text);
});
