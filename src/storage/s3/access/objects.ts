import { Readable } from 'node:stream';
import type { ByteRange, OpenedBlob } from '../../../mirror/ports/upstream.ts';
import type { BucketUse } from '../../../mirror/ports/observer.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { BucketBody } from './body.ts';
import { type BucketCalls, CallRejected } from './calls.ts';
import type { BucketSettings } from './client.ts';

export interface BucketObjectsDeps {
  readonly settings: BucketSettings;
  readonly calls: BucketCalls;
  readonly idleMs?: number;
}

/** An object, or a part of it, as it arrives. */
export type OpenedObject = OpenedBlob & Pick<ObjectFacts, 'modifiedAtMs'>;

/** An object as a listing names it. */
export interface ListedObject extends ObjectFacts {
  readonly key: string;
}

/** The facts of a stored object. */
export interface ObjectFacts {
  readonly size: number;
  readonly modifiedAtMs: number;
}

/** A place in the listing of uploads. */
export interface UploadPlace {
  readonly key: string;
  readonly uploadId: string;
}

/** How an object is read. */
interface ReadObject extends Waiting {
  /** `write` where no client waits: with more time and repetitions, and apart from the breaker of reads. */
  readonly kind?: BucketUse | undefined;
}

const idleMs = 5_000;
/** A bucket that is slower is left for the next source, which goes on where it stopped. */
const minBytesPerSecond = 128 * 1024;

/** Objects of one bucket by key: each method is one call. */
export class BucketObjects {
  readonly #deps: BucketObjectsDeps;

  constructor(deps: BucketObjectsDeps) {
    this.#deps = deps;
  }

  /** @returns undefined when it is not there. @throws UpstreamError, also for a range behind its end; the signal's reason. */
  async open(
    key: string,
    { signal, range, kind = 'read' }: ReadObject & { readonly range?: ByteRange | undefined },
  ): Promise<OpenedObject | undefined> {
    const { calls } = this.#deps;
    const input = { ...this.#at(key), ...(range && { Range: `bytes=${range.start}-${range.end ?? ''}` }) };
    const answer = await calls.run({ operation: 'GetObject', kind, signal }, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.GetObjectCommand(input), { abortSignal }),
    );
    if (!answer) return undefined;
    const { Body: body, ContentLength: length, ContentRange: part, LastModified: modified } = answer;
    if (!(body instanceof Readable) || length === undefined) throw noObject('it sent no length');
    const { start = 0, size = length } = placeOf(part) ?? {};
    return { size, offset: start, body: this.#body(body, length), modifiedAtMs: modified?.getTime() ?? 0 };
  }

  /** A small object, read whole. @returns undefined when it is not there. @throws UpstreamError when it is larger than that. */
  async read(
    key: string,
    { signal, maxBytes, kind }: ReadObject & { readonly maxBytes: number },
  ): Promise<Buffer | undefined> {
    const opened = await this.open(key, { signal, kind });
    if (!opened) return undefined;
    if (opened.size === undefined || opened.size > maxBytes) {
      opened.body.destroy();
      throw noObject(`an object has more than ${maxBytes} bytes`);
    }
    return wholeBody(opened, { signal });
  }

  /** @returns undefined when it is not there. */
  async head(key: string, { signal }: Waiting): Promise<ObjectFacts | undefined> {
    const { calls } = this.#deps;
    const answer = await calls.run({ operation: 'HeadObject', kind: 'write', signal }, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.HeadObjectCommand(this.#at(key)), { abortSignal }),
    );
    if (!answer) return undefined;
    return { size: answer.ContentLength ?? Number.NaN, modifiedAtMs: answer.LastModified?.getTime() ?? 0 };
  }

  /**
   * A URL by which anyone can read the object for `seconds`, if it is there: one call.
   * @returns undefined when it is not there.
   */
  async urlOf(
    key: string,
    { signal, seconds }: Waiting & { readonly seconds: number },
  ): Promise<{ readonly url: string; readonly modifiedAtMs: number } | undefined> {
    const options = { operation: 'HeadObject', kind: 'read', signal } as const;
    return this.#deps.calls.run(options, async ({ sdk, client, abortSignal }) => {
      const facts = await client.send(new sdk.HeadObjectCommand(this.#at(key)), { abortSignal });
      const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
      const command = new sdk.GetObjectCommand({ ...this.#at(key), ResponseContentType: 'application/octet-stream' });
      const url = await getSignedUrl(client, command, { expiresIn: seconds });
      return { url, modifiedAtMs: facts.LastModified?.getTime() ?? 0 };
    });
  }

  /** Writes a small object. @throws ConditionNotMet when it is there already, and should not be. */
  async put(
    key: string,
    bytes: Uint8Array,
    { signal, isNew = false }: Waiting & { readonly isNew?: boolean },
  ): Promise<void> {
    const input = {
      ...this.#at(key),
      ...encryptionOf(this.#deps.settings),
      Body: bytes,
      ...(isNew && { IfNoneMatch: '*' }),
    };
    const options = { operation: 'PutObject', kind: 'write', signal } as const;
    await this.#deps.calls.run(options, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.PutObjectCommand(input), { abortSignal }),
    );
  }

  /** Removes an object, if it is there. */
  async remove(key: string, { signal }: Waiting): Promise<void> {
    const options = { operation: 'DeleteObject', kind: 'write', signal } as const;
    await this.#deps.calls.run(options, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.DeleteObjectCommand(this.#at(key)), { abortSignal }),
    );
  }

  /**
   * The objects whose keys begin with `prefix`, in the order of their keys, in pages of a thousand: one call for each.
   * @throws UpstreamError, also when the pages come round again.
   */
  async *list(prefix: string, waiting: Waiting): AsyncGenerator<readonly ListedObject[], undefined> {
    const pages = new PagesOnce();
    for (let token: string | undefined; ; ) {
      const page = await this.page(prefix, { ...waiting, token });
      pages.add(page.objects.at(-1)?.key ?? '');
      yield page.objects;
      token = page.next;
      if (token === undefined) return;
    }
  }

  /** One page of a listing, a thousand objects at most, with the token of the next one if there is one. */
  async page(
    prefix: string,
    { signal, token }: Waiting & { readonly token?: string | undefined },
  ): Promise<{ readonly objects: readonly ListedObject[]; readonly next: string | undefined }> {
    const options = { operation: 'ListObjectsV2', kind: 'write', signal } as const;
    const input = { Bucket: this.#deps.settings.bucket, Prefix: prefix, ...(token && { ContinuationToken: token }) };
    const page = await this.#deps.calls.run(options, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.ListObjectsV2Command(input), { abortSignal }),
    );
    const objects = (page?.Contents ?? []).flatMap(({ Key: key, Size: size = 0, LastModified: modified }) =>
      key === undefined ? [] : [{ key, size, modifiedAtMs: modified?.getTime() ?? 0 }],
    );
    return { objects, next: page?.IsTruncated ? page.NextContinuationToken : undefined };
  }

  /**
   * Ends uploads below `prefix` that were started before `startedBeforeMs` and never completed: their parts are stored and paid for. One page of
   * them, a thousand at most, from `after` on.
   * @returns how many, and where the next page begins; undefined when this was the last.
   */
  async abortUploads(
    prefix: string,
    { signal, startedBeforeMs, after }: Waiting & { readonly startedBeforeMs: number; readonly after?: UploadPlace },
  ): Promise<{ readonly aborted: number; readonly next: UploadPlace | undefined }> {
    const { calls, settings } = this.#deps;
    const list = { operation: 'ListMultipartUploads', kind: 'write', signal } as const;
    const from = after && { KeyMarker: after.key, UploadIdMarker: after.uploadId };
    const input = { Bucket: settings.bucket, Prefix: prefix, ...from };
    const answer = await calls.run(list, ({ sdk, client, abortSignal }) =>
      client.send(new sdk.ListMultipartUploadsCommand(input), { abortSignal }),
    );
    const old = (answer?.Uploads ?? []).filter(
      ({ Initiated: at }) => at !== undefined && at.getTime() < startedBeforeMs,
    );
    for (const { Key, UploadId } of old) {
      const input = { Bucket: settings.bucket, Key, UploadId };
      const abort = { operation: 'AbortMultipartUpload', kind: 'write', signal } as const;
      await calls.run(abort, ({ sdk, client, abortSignal }) =>
        client.send(new sdk.AbortMultipartUploadCommand(input), { abortSignal }),
      );
    }
    const { IsTruncated: isCut, NextKeyMarker: key, NextUploadIdMarker: uploadId } = answer ?? {};
    const next = isCut && key !== undefined && uploadId !== undefined ? { key, uploadId } : undefined;
    return { aborted: old.length, next };
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#deps.settings.bucket, Key: key };
  }

  #body(source: Readable, expectedBytes: number): BucketBody {
    const { calls } = this.#deps;
    return new BucketBody({
      source,
      expectedBytes,
      idleMs: this.#deps.idleMs ?? idleMs,
      minBytesPerSecond,
      onFailed: (reason) => calls.bodyFailed(reason),
    });
  }
}

/** Empty pages in a row: some servers send a few. */
const maxEmptyPages = 100;

/** Notices a listing that comes round, by one name of the past at a time (Brent's algorithm). */
class PagesOnce {
  #remembered: string | undefined;
  #since = 0;
  #rememberedFor = 1;
  #emptyPages = 0;

  /** @param lastKey empty for a page without objects. @throws UpstreamError for a listing that does not end. */
  add(lastKey: string): void {
    this.#emptyPages = lastKey === '' ? this.#emptyPages + 1 : 0;
    const isRound = lastKey !== '' && lastKey === this.#remembered;
    if (isRound || this.#emptyPages > maxEmptyPages)
      throw new UpstreamError('misbehaving', 'the shared bucket lists without an end');
    if (lastKey === '' || (this.#since += 1) < this.#rememberedFor) return;
    this.#remembered = lastKey;
    this.#since = 0;
    this.#rememberedFor *= 2;
  }
}

/** The bytes of an object that was opened. Its size is the caller's to bound. @throws UpstreamError; the signal's reason. */
export async function wholeBody({ body }: Pick<OpenedObject, 'body'>, { signal }: Waiting): Promise<Buffer> {
  const end = () => body.destroy();
  signal.addEventListener('abort', end, { once: true });
  try {
    const chunks: AsyncIterable<Buffer> = body;
    return Buffer.concat(await Array.fromAsync(chunks)); // Node's own `buffer` makes a Blob first.
  } finally {
    signal.removeEventListener('abort', end);
    signal.throwIfAborted();
  }
}

/** What uploads ask for. */
export function encryptionOf({ serverSideEncryption, kmsKeyId }: BucketSettings) {
  return {
    ...(serverSideEncryption !== undefined && { ServerSideEncryption: serverSideEncryption }),
    ...(kmsKeyId !== undefined && { SSEKMSKeyId: kmsKeyId }),
  };
}

/** Of `bytes 5-9/20`. */
function placeOf(part: string | undefined): { readonly start: number; readonly size: number } | undefined {
  const [, start, size] = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15})$/.exec(part ?? '') ?? [];
  return start === undefined ? undefined : { start: Number(start), size: Number(size) };
}

function noObject(why: string): UpstreamError {
  return new CallRejected('GetObject', { cause: new UpstreamError('misbehaving', why) });
}
