import type { Upstream } from '../../src/mirror/ports/upstream.ts';
import { refusingUpstream } from '../../src/mirror/routing/upstream-choice.ts';

/** An upstream that must not be asked. */
export function upstreamNamed(name: string, label = name): Upstream {
  return refusingUpstream({ name, label, maxConnections: 128 }, () => new Error('asked'));
}
