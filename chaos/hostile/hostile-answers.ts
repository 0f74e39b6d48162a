import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { ociManifest } from '../../src/oci/media-types.ts';
import { digestOf } from '../../src/oci/digest.ts';
import type { Dice } from '../dice.ts';

/** Answers one request. @returns a description of the fault; empty if there was none. */
export type HostileAnswer = (request: IncomingMessage, response: ServerResponse) => string;

const trickleEveryMs = 1_000;
const claimedBytes = 64 * 1024 * 1024;

/** Accepts every request and answers none. */
export const silent: HostileAnswer = () => 'silent registry: no answer';

/** Sends the headers of every blob at once, and its body one byte per second. */
export const trickling: HostileAnswer = (request, response) => {
  if (request.url === '/v2/') return answerEmpty(response, 200);
  response.writeHead(200, { 'content-length': claimedBytes, 'content-type': 'application/octet-stream' });
  if (request.method === 'HEAD') response.end();
  else void trickle(response);
  return 'trickling registry: one byte per second';
};

/**
 * Claims to have the blobs of the other registries, but never sends one correctly.
 * @param blobs the right bytes by digest.
 */
export function hostileTo(blobs: ReadonlyMap<string, Buffer>, dice: Dice): HostileAnswer {
  return (request, response) => {
    const digest = /\/blobs\/(sha256:[0-9a-f]{64})$/.exec(request.url?.split('?')[0] ?? '')?.[1];
    const bytes = blobs.get(digest ?? '');
    if (!bytes || request.method === 'HEAD') return answerEmpty(response, request.url === '/v2/' ? 200 : 404);
    return spoil(response, bytes, dice.pick(['holds', 'wrong', 'short', 'overstated'] as const));
  };
}

const spoilings = {
  holds: 'body never ends',
  wrong: 'wrong bytes',
  short: 'too short',
  overstated: 'length too large',
} as const;

function spoil(response: ServerResponse, bytes: Buffer, how: keyof typeof spoilings): string {
  switch (how) {
    case 'holds':
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, bytes.length >> 1));
      void trickle(response);
      break;
    case 'wrong':
      response.writeHead(200, { 'content-length': bytes.length });
      response.end(Buffer.alloc(bytes.length, 'hostile'));
      break;
    case 'short':
      response.writeHead(200, { 'content-length': bytes.length >> 1 });
      response.end(bytes.subarray(0, bytes.length >> 1));
      break;
    case 'overstated':
      response.writeHead(200, { 'content-length': claimedBytes });
      response.write('abc', () => response.destroy());
      break;
  }
  return `hostile registry: ${spoilings[how]}`;
}

const layersPerManifest = 38_000;
/** Different manifests, all valid. */
export const largeManifests = 24;
const tagsPerList = 1_400_000;

/** Serves manifests of nearly 4 MiB, lists of 15 MiB, and endless lists. */
export function oversized(): HostileAnswer {
  const manifests = Array.from({ length: largeManifests }, (_, index) => largeManifest(index));
  const list = Buffer.from(JSON.stringify({ name: 'large/tags', tags: tagNames(tagsPerList) }));
  return (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://oversized.test');
    const manifest = manifests[Number(/\/manifests\/v(\d+)$/.exec(pathname)?.[1] ?? Number.NaN)];
    if (manifest) {
      const headers = { 'content-type': ociManifest, 'docker-content-digest': digestOf(manifest) };
      return answerWith(request, response, { body: manifest, headers, told: 'oversized registry: a manifest of 4 MB' });
    }
    if (pathname.endsWith('/endless/tags/list')) {
      const page = Number(searchParams.get('last')?.slice(1) ?? 0);
      const tags = Array.from({ length: 100 }, (_, index) => `t${page + index + 1}`);
      const headers = { link: `</v2/large/endless/tags/list?n=100&last=t${page + 100}>; rel="next"` };
      const body = Buffer.from(JSON.stringify({ name: 'large/endless', tags }));
      return answerWith(request, response, { body, headers, told: 'oversized registry: a page of an endless list' });
    }
    if (pathname.endsWith('/tags/list'))
      return answerWith(request, response, { body: list, headers: {}, told: 'oversized registry: a list of 15 MB' });
    return answerEmpty(response, pathname === '/v2/' ? 200 : 404);
  };
}

function largeManifest(index: number): Buffer {
  const layers = Array.from({ length: layersPerManifest }, (_, at) => ({
    mediaType: 'a/b',
    digest: `sha256:${(index * layersPerManifest + at).toString(16).padStart(64, '0')}`,
    size: 1,
  }));
  const config = { mediaType: 'a/b', digest: `sha256:${'c'.repeat(64)}`, size: 1 };
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, config, layers }));
}

function tagNames(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `v${index}`);
}

interface WholeAnswer {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
  readonly told: string;
}

function answerWith(request: IncomingMessage, response: ServerResponse, { body, headers, told }: WholeAnswer): string {
  response.writeHead(200, { 'content-type': 'application/json', ...headers, 'content-length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
  return told;
}

/** Answers correctly: a ping with 200, or a request for something it does not have with 404. */
function answerEmpty(response: ServerResponse, status: number): string {
  response.writeHead(status, { 'content-length': 0 }).end();
  return '';
}

async function trickle(response: ServerResponse): Promise<void> {
  while (!response.destroyed) {
    response.write('x');
    await sleep(trickleEveryMs);
  }
}
