import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { BucketSettings } from '../../src/storage/s3/access/client.ts';
import { type Owner, thisTest } from './owner.ts';

/** A request that the fake got: `GetObject v1/store.json`. */
export interface S3Request {
  readonly operation: string;
  readonly key: string;
  readonly headers: IncomingMessage['headers'];
  readonly query: URLSearchParams;
}

/** What it does instead of answering as S3 does. Undefined: it answers. */
export type S3Fault =
  /** An error with S3's code. */
  | { readonly kind: 'error'; readonly status: number; readonly code: string }
  /** No answer, until the test ends. */
  | { readonly kind: 'silence' }
  /** The connection is reset at once. */
  | { readonly kind: 'reset' }
  /** The body stops after so many bytes: the connection ends, once it may, or nothing more comes. */
  | { readonly kind: 'cut' | 'stall'; readonly afterBytes: number; readonly until?: Promise<unknown> }
  /** The body comes in small pieces. */
  | { readonly kind: 'trickle'; readonly bytes: number; readonly everyMs: number }
  /** It waits for this first. */
  | { readonly kind: 'held'; readonly until: Promise<unknown> };

export type FaultScript = (request: S3Request) => S3Fault | undefined;

/** A bucket in memory that does what a test scripts: for failures that real servers do not have on demand. Path style. */
export class FakeS3 {
  readonly objects = new Map<string, Buffer>();
  readonly requests: S3Request[] = [];
  /** Unfinished multipart uploads by their ids. */
  readonly uploads = new Map<
    string,
    { readonly key: string; readonly startedAt: Date; readonly parts: Map<number, Buffer> }
  >();
  /** When objects were written, if not now. */
  readonly times = new Map<string, Date>();
  script: FaultScript = () => undefined;
  /** Replaces the document of a listing. */
  listing: ((query: URLSearchParams) => string | undefined) | undefined;
  #port = 0;
  #lastUpload = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get settings(): BucketSettings {
    return {
      bucket: 'layers',
      region: 'us-east-1',
      endpoint: this.url,
      prefix: '',
      pathStyle: true,
      checksums: 'when-required',
    };
  }

  /** As `GetObject v1/…`, in the order in which they came. */
  get story(): readonly string[] {
    return this.requests.map(({ operation, key }) => `${operation} ${key}`);
  }

  count(operation: string): number {
    return this.requests.filter((request) => request.operation === operation).length;
  }

  async start(owner: Owner = thisTest): Promise<void> {
    const server = createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    this.#port = typeof address === 'object' && address ? address.port : 0;
    owner(async () => {
      server.close();
      server.closeAllConnections();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.url);
    const [, bucket, ...parts] = decodeURIComponent(url.pathname).split('/');
    const key = parts.join('/');
    const operation = operationOf(request.method ?? '', key, url.searchParams);
    const asked: S3Request = { operation, key, headers: request.headers, query: url.searchParams };
    this.requests.push(asked);
    const fault = this.script(asked);
    if (fault?.kind === 'reset') return void request.socket.resetAndDestroy();
    const body = await buffer(request);
    if (bucket !== this.settings.bucket) return fail(response, 404, 'NoSuchBucket');
    if (fault?.kind === 'silence') return;
    if (fault?.kind === 'held') await fault.until;
    if (fault?.kind === 'error') return fail(response, fault.status, fault.code);
    this.#do(asked, unchunked(request, body), response, fault);
  }

  #do(asked: S3Request, body: Buffer, response: ServerResponse, fault: S3Fault | undefined): void {
    const { key, operation } = asked;
    switch (operation) {
      case 'GetObject':
      case 'HeadObject':
        return this.#send(asked, response, fault);
      case 'PutObject':
        if (asked.headers['if-none-match'] === '*' && this.objects.has(key))
          return fail(response, 412, 'PreconditionFailed');
        this.objects.set(key, body);
        return void response.setHeader('ETag', etagOf(body)).end();
      case 'DeleteObject':
        this.objects.delete(key);
        return void response.writeHead(204).end();
      case 'ListObjectsV2':
        return void response.end(this.listing?.(asked.query) ?? this.#list(asked.query));
      default:
        return this.#multipart(asked, body, response);
    }
  }

  #multipart({ key, operation, query }: S3Request, body: Buffer, response: ServerResponse): void {
    const id = query.get('uploadId') ?? '';
    switch (operation) {
      case 'CreateMultipartUpload': {
        const created = `upload-${(this.#lastUpload += 1)}`;
        this.uploads.set(created, { key, startedAt: new Date(), parts: new Map() });
        return void response.end(
          xml('InitiateMultipartUploadResult', `<UploadId>${created}</UploadId><Key>${key}</Key>`),
        );
      }
      case 'UploadPart':
        this.uploads.get(id)?.parts.set(Number(query.get('partNumber')), body);
        return void response.setHeader('ETag', etagOf(body)).end();
      case 'CompleteMultipartUpload': {
        const parts = [...(this.uploads.get(id)?.parts ?? [])].toSorted(([a], [b]) => a - b);
        this.objects.set(key, Buffer.concat(parts.map(([, part]) => part)));
        this.uploads.delete(id);
        return void response.end(xml('CompleteMultipartUploadResult', `<Key>${key}</Key><ETag>"done"</ETag>`));
      }
      case 'AbortMultipartUpload':
        this.uploads.delete(id);
        return void response.writeHead(204).end();
      case 'ListMultipartUploads':
        return void response.end(this.#listUploads(query));
      default:
        return fail(response, 501, 'NotImplemented');
    }
  }

  #send({ key, operation, headers }: S3Request, response: ServerResponse, fault: S3Fault | undefined): void {
    const whole = this.objects.get(key);
    if (!whole) return fail(response, 404, 'NoSuchKey');
    const [, start, end] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? [];
    const from = Number(start ?? 0);
    if (from >= whole.byteLength && start !== undefined) return fail(response, 416, 'InvalidRange');
    const part = whole.subarray(from, end === undefined || end === '' ? undefined : Number(end) + 1);
    response.statusCode = start === undefined ? 200 : 206;
    if (start !== undefined)
      response.setHeader('Content-Range', `bytes ${from}-${from + part.byteLength - 1}/${whole.byteLength}`);
    response.setHeader('Content-Length', part.byteLength);
    response.setHeader('Last-Modified', (this.times.get(key) ?? new Date()).toUTCString());
    if (operation === 'HeadObject') return void response.end();
    if (fault?.kind === 'trickle') return trickle(response, part, fault);
    if (fault?.kind !== 'cut' && fault?.kind !== 'stall') return void response.end(part);
    response.write(part.subarray(0, fault.afterBytes), () => {
      if (fault.kind === 'cut') void Promise.resolve(fault.until).then(() => response.socket?.destroySoon());
    });
  }

  #list(query: URLSearchParams): string {
    const prefix = query.get('prefix') ?? '';
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const limit = Number(query.get('max-keys') ?? 1_000);
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).toSorted();
    const page = keys.slice(0, limit);
    const contents = page.map(
      (key) =>
        `<Contents><Key>${key}</Key><Size>${this.objects.get(key)?.byteLength}</Size><LastModified>${(
          this.times.get(key) ?? new Date()
        ).toISOString()}</LastModified></Contents>`,
    );
    const isCut = keys.length > page.length;
    const next = isCut ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
    return xml('ListBucketResult', `${contents.join('')}<IsTruncated>${isCut}</IsTruncated>${next}`);
  }

  #listUploads(query: URLSearchParams): string {
    const after = query.get('upload-id-marker') ?? '';
    const left = [...this.uploads].filter(([id]) => id > after).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const page = left.slice(0, 1_000);
    const uploads = page.map(
      ([id, { key, startedAt }]) =>
        `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${startedAt.toISOString()}</Initiated></Upload>`,
    );
    const [id, last] = page.at(-1) ?? [];
    const next = `<NextKeyMarker>${last?.key ?? ''}</NextKeyMarker><NextUploadIdMarker>${id ?? ''}</NextUploadIdMarker>`;
    return xml(
      'ListMultipartUploadsResult',
      `${uploads.join('')}<IsTruncated>${left.length > page.length}</IsTruncated>${next}`,
    );
  }
}

/** A fake that its owner ends, with credentials in the environment for the SDK. */
export async function startFakeS3(owner: Owner = thisTest): Promise<FakeS3> {
  const s3 = new FakeS3();
  await s3.start(owner);
  process.env['AWS_ACCESS_KEY_ID'] = 'fake-access-key';
  process.env['AWS_SECRET_ACCESS_KEY'] = 'fake-secret-key';
  return s3;
}

function operationOf(method: string, key: string, query: URLSearchParams): string {
  if (method === 'GET' && key === '') return query.has('uploads') ? 'ListMultipartUploads' : 'ListObjectsV2';
  if (method === 'GET') return 'GetObject';
  if (method === 'HEAD') return key === '' ? 'HeadBucket' : 'HeadObject';
  if (method === 'POST') return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload';
  if (method === 'PUT') return query.has('partNumber') ? 'UploadPart' : 'PutObject';
  return query.has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject';
}

/** The SDK may send a body in signed chunks: `<hex>[;signature]\r\n<bytes>\r\n`. */
function unchunked(request: IncomingMessage, body: Buffer): Buffer {
  if (!String(request.headers['content-encoding'] ?? '').includes('aws-chunked')) return body;
  const pieces: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf('\r\n', at);
    const size = Number.parseInt(body.toString('latin1', at, end), 16);
    if (end === -1 || !(size > 0)) return Buffer.concat(pieces);
    pieces.push(body.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`;
}

function trickle(
  response: ServerResponse,
  whole: Buffer,
  { bytes, everyMs }: { readonly bytes: number; readonly everyMs: number },
): void {
  let at = 0;
  const timer = setInterval(() => {
    response.write(whole.subarray(at, (at += bytes)));
    if (at >= whole.byteLength) response.end();
  }, everyMs);
  response.once('close', () => clearInterval(timer));
}

function xml(root: string, content: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${content}</${root}>`;
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' });
  response.end(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`);
}
