import type { FakeRegistry } from '../../support/fake-registry.ts';
import { image, type Image } from '../../support/images.ts';
import { pullByTag } from './client.ts';
import { medianOf } from './together.ts';

export interface NamedImage {
  readonly repository: string;
  readonly tag: string;
  readonly image: Image;
}

/** Small images, each in a repository of its own, which the upstream has from now on. */
export function publish(upstream: FakeRegistry, name: string, count: number): readonly NamedImage[] {
  return Array.from({ length: count }, (_, index) => {
    const published = { repository: `${name}/app-${index}`, tag: 'v1' };
    const built = image({ name: `${name} ${index}`, layers: 2, layerBytes: 50_000 });
    upstream.content.add(published.repository, published.tag, built);
    return { ...published, image: built };
  });
}

/** What a number of pulls came to. */
export interface Pulls {
  readonly failures: readonly string[];
  /** Connections that were cut, of all pulls. */
  readonly cuts: number;
  readonly medianMs: number;
}

/** Pulls so many images at once, each of the list in turn. */
export async function pullMany(url: string, images: readonly NamedImage[], count: number): Promise<Pulls> {
  const results = await Promise.allSettled(Array.from({ length: count }, (_, index) => timed(url, images, index)));
  const done = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  return {
    failures: results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : [])),
    cuts: done.reduce((sum, { cuts }) => sum + cuts, 0),
    medianMs: medianOf(done.map(({ ms }) => ms)),
  };
}

/** One after another. */
export async function pullInTurn(url: string, images: readonly NamedImage[], count: number): Promise<Pulls> {
  const all: Pulls[] = [];
  for (let index = 0; index < count; index += 1) {
    const one = images[index % images.length];
    if (one) all.push(await pullMany(url, [one], 1));
  }
  return {
    failures: all.flatMap(({ failures }) => failures),
    cuts: all.reduce((sum, { cuts }) => sum + cuts, 0),
    medianMs: medianOf(all.map(({ medianMs }) => medianMs)),
  };
}

async function timed(url: string, images: readonly NamedImage[], index: number): Promise<{ ms: number; cuts: number }> {
  const one = images[index % images.length];
  if (!one) throw new Error('there are no images');
  const startedAtMs = performance.now();
  const { cuts } = await pullByTag({ url, ...one }).done;
  return { ms: performance.now() - startedAtMs, cuts };
}

/** Whether clients of all replicas cause one request for each part of a new image. */
export async function isAskedOnce(url: string, upstream: FakeRegistry, name: string): Promise<boolean> {
  const [fresh] = publish(upstream, name, 1);
  if (!fresh) return false;
  const pulls = await pullMany(url, [fresh], 9);
  if (pulls.failures.length > 0) throw new Error(pulls.failures.join());
  const gets = fresh.image.blobs.map(({ digest }) => upstream.count('GET', new RegExp(`/${digest}$`)));
  return gets.every((count) => count === 1);
}
