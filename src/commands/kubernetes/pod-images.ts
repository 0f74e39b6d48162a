import { isJsonObject, type JsonObject } from '../../oci/json.ts';
import { type ApiServer, ApiServerFailure, askApiServer } from './api-server.ts';

/** Pods in one answer: a pod has some 10 KiB, and at most 1.5 MiB. */
const podsAtOnce = 100;
const maxPageBytes = 64 * 1024 * 1024;
const answersWithinMs = 30_000;
/** A cluster has at most 150,000 pods (kubernetes.io, "Considerations for large clusters"). */
const mostPages = 3_000;
/** How often the list is begun anew when the API server does not know its place in it any more. */
const mostBeginnings = 3;

/**
 * The images of all pods in the cluster, each once: as the pods name them, and by the digests that run.
 * @throws ApiServerFailure; the signal's reason.
 */
export async function podImages(
  server: ApiServer,
  { signal }: { readonly signal: AbortSignal },
): Promise<readonly string[]> {
  for (let beginning = 1; ; beginning += 1) {
    try {
      return await listedImages(server, signal);
    } catch (cause) {
      // The place in the list has expired: github.com/kubernetes/kubernetes, "APIListChunking".
      const hasExpired = cause instanceof ApiServerFailure && cause.status === 410;
      if (!hasExpired || beginning === mostBeginnings) throw cause;
    }
  }
}

async function listedImages(server: ApiServer, signal: AbortSignal): Promise<readonly string[]> {
  const images = new Set<string>();
  let place = '';
  for (let page = 0; page < mostPages; page += 1) {
    const query = new URLSearchParams({ limit: String(podsAtOnce), ...(place !== '' && { continue: place }) });
    const soon = AbortSignal.any([signal, AbortSignal.timeout(answersWithinMs)]);
    const question = { path: `/api/v1/pods?${query.toString()}`, maxBytes: maxPageBytes, signal: soon };
    const list = await askApiServer(server, question);
    if (!isJsonObject(list) || !Array.isArray(list['items'])) throw new ApiServerFailure('the API server sent no list');
    for (const pod of list['items']) for (const image of imagesOf(pod)) images.add(image);
    const { continue: next } = objectIn(list['metadata']);
    if (typeof next !== 'string' || next === '') return [...images];
    place = next;
  }
  throw new ApiServerFailure(`the list of pods has more than ${mostPages} pages`);
}

const kinds = ['initContainers', 'containers', 'ephemeralContainers'] as const;

/** The images of a pod: what its containers name, and what runs. Pure. */
export function imagesOf(pod: unknown): readonly string[] {
  const { spec, status } = objectIn(pod);
  const named = kinds.flatMap((kind) => listIn(spec, kind).map(({ image }) => image));
  const running = kinds.flatMap((kind) => listIn(status, `${kind.slice(0, -1)}Statuses`).map(({ imageID }) => imageID));
  return [...named, ...running.map(withoutScheme)].filter(isImage);
}

/** dockershim had a scheme before the name: `docker-pullable://nginx@sha256:…`. */
function withoutScheme(imageId: unknown): unknown {
  return typeof imageId === 'string' ? imageId.replace(/^[a-z-]+:\/\//, '') : undefined;
}

/** The id of an image on a node, which is the digest of its configuration, cannot be pulled. */
function isImage(image: unknown): image is string {
  return typeof image === 'string' && image !== '' && !/^sha(?:256|512):/.test(image) && !/^[0-9a-f]{64}$/.test(image);
}

function objectIn(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

function listIn(value: unknown, name: string): readonly JsonObject[] {
  const list = objectIn(value)[name];
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}
