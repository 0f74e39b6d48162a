import { refreshed as refreshedSchema } from '../../http/management/api/content/refresh-routes.ts';
import {
  answerAs,
  apiOf,
  exitCodeOf,
  failure,
  type MirrorChoice,
  type Output,
  printable,
  tryJson,
} from '../api/client.ts';
import { targetIn } from './purge.ts';

export interface RefreshOptions extends MirrorChoice, Output {
  /** `docker.io/library/nginx:1.27`. */
  readonly image: string;
  readonly json: boolean;
}

/** Clients wait for headers no longer than this, and so does the mirror for the upstream. */
const refreshesWithinMs = 60_000;

/**
 * Lets the running mirror ask the upstream what a tag points at now, and prints whether it has moved.
 * @returns the exit code: see exitCodes.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function refresh(options: RefreshOptions): Promise<number> {
  const { image, json, print } = options;
  return exitCodeOf(async () => {
    const target = targetIn(image, { allTags: false });
    if (typeof target === 'string' || target.tag === undefined)
      throw failure(`${image}: expected an image by tag, such as docker.io/library/nginx:1.27`);
    const api = await apiOf(options);
    const answer = await api('refresh', { method: 'POST', body: { ...target }, withinMs: refreshesWithinMs });
    print(json ? `${JSON.stringify(answer, null, 2)}\n` : `${printable(image)} ${refreshedText(answer)}\n`);
  }, options);
}

/** What an answer says. @throws ApiFailure when the mirror is of another version. Pure. */
function refreshedText(answer: unknown): string {
  const { hasMoved, previousDigest, digest } = answerAs(refreshedSchema, answer, tryJson);
  return hasMoved ? `has moved from ${previousDigest} to ${digest}` : `has not moved: ${digest}`;
}
