import type { Observer } from '../mirror/ports/observer.ts';

/** For commands that run beside a mirror and have nobody to tell. */
export function silentObserver(): Observer {
  const ignore = () => {};
  return {
    answered: ignore,
    rejected: ignore,
    upstreamAnswered: ignore,
    circuitChanged: ignore,
    upstreamBytes: ignore,
    rateLimitSeen: ignore,
    downloadStarted: ignore,
    downloadsWaiting: ignore,
    downloadEnded: ignore,
    collapsed: ignore,
    tagRevalidated: ignore,
    servedStale: ignore,
    contentStored: ignore,
    evicted: ignore,
    corruptionFound: ignore,
    scrubbed: ignore,
    trouble: ignore,
  };
}
