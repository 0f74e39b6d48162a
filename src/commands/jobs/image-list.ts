import { mostImages } from '../../http/management/api/jobs-routes.ts';
import { type ImageName, imageText, parseImageName } from '../../oci/image-name.ts';
import { parseHostName } from '../../oci/reference.ts';

/** Images to be warmed, and texts that are none. */
export interface NamedImages {
  /** Full names, each once, in the order they were named. */
  readonly images: readonly string[];
  readonly problems: readonly string[];
}

/** The names in a list: one a line; what follows a `#` is a comment. Pure. */
export function namesIn(list: string): readonly string[] {
  const lines = list.replace(/^\uFEFF/, '').split(/\r?\n/);
  return lines.map((line) => line.replace(/(?:^|\s)#.*$/, '').trim()).filter((name) => name !== '');
}

/** Names as `docker pull` takes them, as full names. Pure. */
export function fullNames(names: readonly string[]): NamedImages {
  const parsed = names.map((name) => ({ name, image: parseImageName(name) }));
  return {
    images: [...new Set(parsed.flatMap(({ image }) => (typeof image === 'string' ? [] : [imageText(image)])))],
    problems: parsed.flatMap(({ name, image }) => (typeof image === 'string' ? [`${name}: ${image}`] : [])),
  };
}

/** A request has at most 64 KiB, and each name costs it two quotes and a comma. */
const mostBytes = 48 * 1024;

/** The images in parts that one request takes. Pure. */
export function batchesOf(images: readonly string[]): readonly (readonly string[])[] {
  const batches: string[][] = [];
  let bytes = 0;
  for (const image of images) {
    bytes += image.length + 3;
    const last = batches.at(-1);
    if (last && last.length < mostImages && bytes <= mostBytes) last.push(image);
    else {
      batches.push([image]);
      bytes = image.length + 3;
    }
  }
  return batches;
}

export interface ClusterImages {
  readonly images: readonly string[];
  /** Those that no upstream of the mirror has. */
  readonly others: readonly string[];
}

/**
 * What the pods of a cluster name, as the upstreams of the mirror name it. Pods may name the mirror itself as the registry, and the upstream
 * in the first component of the repository: `mirror.internal:5000/ghcr.io/acme/app`. Pure.
 * @param upstreams their keys in the configuration.
 */
export function ofUpstreams(names: readonly string[], upstreams: readonly string[]): ClusterImages {
  const found = names.map((name) => ({ name, image: parseImageName(name) }));
  const images = new Set<string>();
  const others = new Set<string>();
  for (const { name, image } of found) {
    const own = typeof image === 'string' ? undefined : ofUpstream(image, upstreams);
    if (own === undefined) others.add(name);
    else images.add(imageText(own));
  }
  return { images: [...images], others: [...others] };
}

function ofUpstream(image: ImageName, upstreams: readonly string[]): ImageName | undefined {
  const behind = behindMirror(image);
  const [here, there] = [image.registry, behind?.registry].map((host) =>
    host === undefined ? 0 : known(host, upstreams),
  );
  if (behind && (there ?? 0) > (here ?? 0)) return behind;
  return here === 0 ? undefined : image;
}

/** The image that the repository names with its registry. */
function behindMirror({ repository, reference }: ImageName): ImageName | undefined {
  const slash = repository.indexOf('/');
  const host = parseHostName(repository.slice(0, Math.max(0, slash)));
  if (host === undefined || !/[.:]|^localhost$/.test(host)) return undefined;
  const image = parseImageName(`${repository}${reference.includes(':') ? '@' : ':'}${reference}`);
  return typeof image === 'string' ? undefined : image;
}

/** 2: an upstream has this name; 1: it matches the pattern of one; 0: neither. */
function known(host: string, upstreams: readonly string[]): number {
  if (upstreams.includes(host)) return 2;
  return upstreams.some((pattern) => pattern.includes('*') && matcherOf(pattern).test(host)) ? 1 : 0;
}

/** `*` is one label, `**` any number. */
function matcherOf(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('**', '\u0000').replaceAll('*', '[^.]+').replaceAll('\u0000', '.+')}$`);
}
