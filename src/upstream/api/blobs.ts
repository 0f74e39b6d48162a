import type { ByteRange, OpenedBlob } from '../../mirror/ports/upstream.ts';
import type { Waiting } from '../../mirror/ports/waiting.ts';
import { type Digest, isOfNothing } from '../../oci/digest.ts';
import { OciError } from '../../oci/errors.ts';
import type { Repository } from '../../oci/reference.ts';
import { contentLengthOf, contentRangeOf, openedBlob } from '../transport/answer.ts';
import { askByHead } from './head-record.ts';
import type { RegistryAnswer, Requests } from './requests.ts';

/**
 * HEAD of a blob; if that is refused, GET of one byte. A refused HEAD says little: ECR public refuses it to clients that may GET
 * (aws/containers-roadmap #2671), and Harbor's proxy projects answer 404 for a blob that they fetch only on GET (harbor #16692).
 * @throws OciError BLOB_UNKNOWN, NAME_UNKNOWN or DENIED; UpstreamError.
 */
export async function headBlob(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting,
): Promise<{ readonly size: number | undefined }> {
  if (requests.hasNoHead('blob')) return sizeByGet(requests, repository, digest, options);
  const request = { url: requests.urlOf(repository, `blobs/${digest}`), kind: 'blob', repository } as const;
  const said = await askByHead(request, () => requests.ask({ ...request, method: 'HEAD' }, options));
  if (said.refusal !== undefined) {
    const found = await sizeByGet(requests, repository, digest, options);
    requests.recordHead('blob', said.refusal);
    return found;
  }
  if (said.answer.status !== 200) throw await requests.failureOf(said.answer, 'BLOB_UNKNOWN');
  requests.recordHead('blob', 'answered');
  const size = contentLengthOf(said.answer.headers);
  // Some proxies send the length of the HEAD's own body (yusing/godoxy #169).
  return size === 0 && !isOfNothing(digest) ? sizeByGet(requests, repository, digest, options) : { size };
}

async function sizeByGet(requests: Requests, repository: Repository, digest: Digest, options: Waiting) {
  const answer = await askForBlob(requests, repository, digest, {
    signal: options.signal,
    range: { start: 0, end: 0 },
  });
  const size = answer.status === 200 ? contentLengthOf(answer.headers) : contentRangeOf(answer.headers)?.size;
  // An empty blob has no first byte.
  if (answer.status !== 200 && answer.status !== 206 && answer.status !== 416)
    throw await requests.failureOf(answer, 'BLOB_UNKNOWN');
  answer.body.destroy();
  return { size };
}

/**
 * Opens a blob for reading; see the port.
 * @throws OciError BLOB_UNKNOWN, NAME_UNKNOWN, DENIED or RANGE_INVALID; UpstreamError, `misbehaving` for another range than requested.
 */
export async function openBlob(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  options: Waiting & { readonly range?: ByteRange },
): Promise<OpenedBlob> {
  const answer = await askForBlob(requests, repository, digest, options);
  if (answer.status === 200 || answer.status === 206) return openedBlob(answer, options.range);
  const failure = await requests.failureOf(answer, 'BLOB_UNKNOWN');
  throw answer.status === 416 && options.range !== undefined
    ? new OciError('RANGE_INVALID', 'the blob has no such range', { cause: failure })
    : failure;
}

function askForBlob(
  requests: Requests,
  repository: Repository,
  digest: Digest,
  { signal, range }: Waiting & { readonly range?: ByteRange },
): Promise<RegistryAnswer> {
  const url = requests.urlOf(repository, `blobs/${digest}`);
  const headers = range === undefined ? {} : { range: `bytes=${range.start}-${range.end ?? ''}` };
  return requests.ask({ method: 'GET', url, kind: 'blob', repository, headers }, { signal });
}
