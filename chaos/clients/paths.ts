import type { PublishedImage } from '../world.ts';

/** Of something in the repository of an image, as a client asks the mirror for it. */
export function pathOf(
  { upstream, repository }: Pick<PublishedImage, 'upstream' | 'repository'>,
  rest: string,
): string {
  return `/v2/${repository}/${rest}${upstream === 'docker.io' ? '' : `?ns=${upstream}`}`;
}
