import { METHODS } from 'node:http';
import fc from 'fast-check';
import { image, randomBlob } from '../support/images.ts';

export const repository = 'library/app';
export const held = image();
export const blob = randomBlob(1_000);

export interface Request {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
}

const words = [
  'v2',
  'library',
  'app',
  'manifests',
  'blobs',
  'referrers',
  'tags',
  'list',
  '_catalog',
  '_tags',
  '1',
  'latest',
  held.manifest.digest,
  blob.digest,
  held.manifest.digest.replace(':', '%3A'),
  held.manifest.digest.toUpperCase(),
  'sha256:',
  'sha512:00',
  '..',
  '.',
  '%2e%2e',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%25',
  '@',
  '~',
  '\\',
  ':',
  '',
  'docker.io',
  'ghcr.io',
  '127.0.0.1',
  'http:',
  'a'.repeat(300),
];

const characters = (from: number, to: number): fc.Arbitrary<string> =>
  fc.integer({ min: from, max: to }).map((code) => String.fromCharCode(code));

export const visibleText = fc.string({ unit: characters(0x21, 0x7e) });
export const headerText = fc
  .string({ unit: characters(0x20, 0xff) })
  .map((text) => text.replaceAll(String.fromCharCode(0x7f), ' '));

/** What the registry has, and lists of it. */
export const resource = fc.constantFrom(
  `/v2/${repository}/manifests/1`,
  `/v2/${repository}/manifests/${held.manifest.digest}`,
  `/v2/${repository}/blobs/${blob.digest}`,
  `/v2/${repository}/tags/list`,
  `/v2/${repository}/referrers/${held.manifest.digest}`,
  '/v2/',
  '/v2/_catalog',
);

const part = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...words) }, { weight: 1, arbitrary: visibleText });
const path = fc.oneof(
  resource,
  fc.array(part, { maxLength: 7 }).map((parts) => `/${parts.join('/')}`),
  fc.array(part, { maxLength: 5 }).map((parts) => `/v2/${parts.join('/')}`),
);
const queryName = fc.oneof(fc.constantFrom('ns', 'n', 'last', 'artifactType', 'digest', '__proto__'), visibleText);
const queryValue = fc.oneof(
  fc.constantFrom('docker.io', 'ghcr.io', 'nobody.test', '0', '-1', '1e9', '2147483648', '%00', '%zz', ''),
  visibleText,
);
const query = fc
  .array(fc.tuple(queryName, queryValue), { maxLength: 4 })
  .map((pairs) => (pairs.length === 0 ? '' : `?${pairs.map((pair) => pair.join('=')).join('&')}`));

/** A fragment is no part of a target. */
export const target = fc.tuple(path, query).map(([before, after]) => (before + after).replaceAll('#', ''));

/** CONNECT is for proxies: Node closes such a connection. */
const method = fc.oneof(
  fc.constantFrom('GET', 'HEAD'),
  fc.constantFrom(...METHODS.filter((name) => name !== 'CONNECT')),
);

/** Those that frame a message, or name the host, have tests of their own. */
const headerName = fc.constantFrom(
  'Range',
  'If-Range',
  'If-None-Match',
  'Accept',
  'Accept-Encoding',
  'Authorization',
  'Cookie',
  'Origin',
  'Referer',
  'User-Agent',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'Forwarded',
  '__proto__',
  'constructor',
  'Docker-Content-Digest',
  'Trailer',
  'Via',
);

/** Any request that is one. */
export const request: fc.Arbitrary<Request> = fc.record({
  method,
  target,
  headers: fc.array(fc.tuple(headerName, headerText), { maxLength: 5 }),
});

/** @param more header lines. */
export function textOf(
  host: string,
  { method: verb, target: at, headers }: Request,
  more: readonly string[] = [],
): string {
  const lines = [`${verb} ${at} HTTP/1.1`, `Host: ${host}`, ...headers.map((one) => one.join(': ')), ...more];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** A GET without headers of its own. */
export function getText(host: string, at: string, more: readonly string[] = []): string {
  return textOf(host, { method: 'GET', target: at, headers: [] }, more);
}
