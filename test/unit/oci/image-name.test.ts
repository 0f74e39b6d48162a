import { expect, test } from 'vitest';
import { imageText, parseImageName } from '../../../src/oci/image-name.ts';

const digest = `sha256:${'a'.repeat(64)}`;

test.each([
  ['nginx', 'docker.io/library/nginx:latest'],
  ['nginx:1.27', 'docker.io/library/nginx:1.27'],
  ['grafana/grafana:11', 'docker.io/grafana/grafana:11'],
  ['docker.io/nginx', 'docker.io/library/nginx:latest'],
  ['index.docker.io/library/nginx', 'docker.io/library/nginx:latest'],
  ['GHCR.io/acme/app:1', 'ghcr.io/acme/app:1'],
  ['ghcr.io/app', 'ghcr.io/app:latest'],
  ['localhost/app', 'localhost/app:latest'],
  ['localhost:5000/app:1', 'localhost:5000/app:1'],
  ['[::1]:5000/app', '[::1]:5000/app:latest'],
  [`nginx@${digest}`, `docker.io/library/nginx@${digest}`],
  [`nginx:1.27@${digest}`, `docker.io/library/nginx@${digest}`],
])('%s is %s, as docker pull has it', (text, full) => {
  const name = parseImageName(text);
  expect(typeof name === 'string' ? name : imageText(name)).toBe(full);
});

test.each([
  '',
  ':1',
  '@',
  '/nginx',
  'nginx:',
  'nginx@',
  'nginx@sha256:abc',
  'Nginx',
  'nginx:-x',
  'ghcr.io/',
  'a b',
  'nginx\n',
  'https://ghcr.io/acme/app',
  'bad_host.io_/app',
])('%j is no name of an image', (text) => {
  expect(parseImageName(text)).toEqual(expect.any(String));
});
