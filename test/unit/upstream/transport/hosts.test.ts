import { expect, test } from 'vitest';
import { hostMatcher } from '../../../../src/upstream/transport/hosts.ts';

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
