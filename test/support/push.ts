import { digestOf } from '../../src/oci/digest.ts';
import { ociIndex } from '../../src/oci/media-types.ts';
import { type Content, content, descriptorOf, type Image, type Referrer } from './images.ts';

export interface PushOptions {
  /** Such as `Basic …`. */
  readonly authorization?: string;
  /** Attached to the image: each by its digest, and all of them under the tag that stands for the referrers API where a registry has none. */
  readonly referrers?: readonly Referrer[];
}

/** Puts an image into a real registry by the push half of the distribution API. */
export async function pushImage(
  registryUrl: string,
  repository: string,
  tag: string,
  image: Image,
  options: PushOptions = {},
): Promise<void> {
  const to: Target = { base: `${registryUrl}/v2/${repository}`, authorization: options.authorization };
  await pushContent(to, image);
  await putManifest(to, tag, image.manifest);
  await pushReferrers(to, image, options.referrers ?? []);
}

interface Target {
  readonly base: string;
  readonly authorization: string | undefined;
}

async function pushContent(to: Target, { blobs, children }: Image): Promise<void> {
  for (const blob of blobs) await putBlob(to, blob);
  for (const child of children) await putManifest(to, child.digest, child);
}

/** distribution-spec v1.1.1, "Referrers Tag Schema". */
async function pushReferrers(to: Target, { manifest }: Image, referrers: readonly Referrer[]): Promise<void> {
  if (referrers.length === 0) return;
  for (const referrer of referrers) {
    await pushContent(to, referrer);
    await putManifest(to, referrer.manifest.digest, referrer.manifest);
  }
  await putManifest(to, manifest.digest.replace(':', '-'), referrersIndex(referrers));
}

/** What the referrers API answers for `referrers`. */
export function referrersIndex(referrers: readonly Referrer[]): Content {
  const manifests = referrers.map(({ manifest, artifactType }) => ({ ...descriptorOf(manifest), artifactType }));
  return content(ociIndex, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests })));
}

async function putBlob(to: Target, { digest, bytes }: Content): Promise<void> {
  const started = await send(to, 'POST', `${to.base}/blobs/uploads/`);
  const place = new URL(started.headers.get('location') ?? '', to.base);
  place.searchParams.set('digest', digest);
  await send(to, 'PUT', place.href, { 'content-type': 'application/octet-stream' }, bytes);
}

async function putManifest(to: Target, reference: string, { mediaType, bytes }: Content): Promise<void> {
  const answer = await send(to, 'PUT', `${to.base}/manifests/${reference}`, { 'content-type': mediaType }, bytes);
  const stored = answer.headers.get('docker-content-digest');
  if (stored !== digestOf(bytes)) throw new Error(`the registry stored ${reference} as ${stored}`);
}

async function send(
  { authorization }: Target,
  method: string,
  url: string,
  headers: Readonly<Record<string, string>> = {},
  body?: Buffer,
): Promise<Response> {
  const answer = await fetch(url, {
    method,
    headers: { ...headers, ...(authorization !== undefined && { authorization }) },
    ...(body && { body: new Uint8Array(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url} was answered ${answer.status}: ${text}`);
  return answer;
}
