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

  test('runs as an unprivileged user, whose volume any user of the group 0 can write', () => {
    expect(dockerfile).toMatch(/^USER 65532:65532$/m);
    expect(dockerfile).toMatch(/^COPY --from=build --chown=65532:0 \/image\/data \/data$/m);
    expect(dockerfile).toContain('chmod 770 /image/data');
  });

  test('asks the configured management port for its health, of the configuration that it runs with', () => {
    expect(dockerfile).toMatch(/^HEALTHCHECK .* CMD \["node", "dist\/main.js", "health"\]$/m);
    expect(dockerfile).toMatch(/^ENV .*LAYERWELL_CONFIG=\/etc\/layerwell\/mirror.config.json$/m);
    expect(dockerfile).toMatch(/^CMD \["serve"\]$/m);
  });

  test('tells the program the revision that it was built from', () => {
    expect(dockerfile).toMatch(/^ENV .*LAYERWELL_REVISION=\$\{REVISION\} /m);
  });

  test('has the command layerwell in the PATH', () => {
    expect(dockerfile).toContain('ln -s /app/dist/main.js /image/usr/local/bin/layerwell');
    expect(dockerfile).toContain('chmod 755 /image/app/dist/main.js');
    expect(readFileSync(resolve(root, 'src/main.ts'), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });

  test('has the files that pages are made with', () => {
    expect(dockerfile).toContain('cp -r src/http/management/pages/assets /image/app/dist/http/management/pages/');
  });

  test('is of one base, which a build can pin, and runs no command on the target architecture', () => {
    const [build, image] = dockerfile.split(/^FROM .*$/m).slice(1);
    expect(dockerfile.match(/^FROM .*$/gm)).toEqual([
      'FROM --platform=$BUILDPLATFORM ${NODE_IMAGE} AS build',
      'FROM ${NODE_IMAGE}',
    ]);
    expect(build).toMatch(/^RUN /m);
    expect(image).not.toMatch(/^RUN /m);
  });

  test.each(['title', 'description', 'licenses', 'version', 'revision', 'created', 'source'])(
    'has the label org.opencontainers.image.%s',
    (name) => {
      expect(dockerfile).toMatch(new RegExp(`^.*org\\.opencontainers\\.image\\.${name}=".+"`, 'm'));
    },
  );

  test('starts from the process itself: no shell is between it and the signals', () => {
    expect(dockerfile).toMatch(/^ENTRYPOINT \["node", "dist\/main.js"\]$/m);
  });
});
