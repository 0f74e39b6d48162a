import type { PublishedImage } from '../world.ts';

/** The path at which a client requests something in the repository of an image from the mirror. */
export function pathOf(
  { upstream, repository }: Pick<PublishedImage, 'upstream' | 'repository'>,
  rest: string,
): string {
  return `/v2/${repository}/${rest}${upstream === 'docker.io' ? '' : `?ns=${upstream}`}`;
}
