import type { Release } from './release.ts';
import type { Pulls } from './pods/pull-summary.ts';

/** What a scenario found: a line of the table. */
export interface Finding {
  readonly pulls?: Pulls;
  /** What else was measured, in a few words. */
  readonly note?: string;
  /** What should not have happened. */
  readonly problems: readonly string[];
}

export interface Scenario {
  /** As the table says it. */
  readonly name: string;
  /** For `--only`. */
  readonly key: string;
  /** Whether it applies; by default to every shape. */
  readonly isFor?: (release: Release) => boolean;
  readonly run: (release: Release) => Promise<Finding>;
}

/** Two replicas: nothing may fail in what is planned. */
export const isReplicated = ({ shape }: Release): boolean => shape.replicas > 1;

export const hasNode = ({ stage }: Release): boolean => stage.cluster.hasNode;

/** No attempt may fail. */
export function nothingFailed(pulls: Pulls): readonly string[] {
  const reasons = JSON.stringify(pulls.reasons);
  const failed = pulls.failed > 0 ? [`${pulls.failed} of ${pulls.pulls} attempts failed: ${reasons}`] : [];
  return pulls.pulls < 10 ? [...failed, `only ${pulls.pulls} pulls in all`] : failed;
}

/** Attempts may fail, but not a pull that is repeated. */
export function nothingLost(pulls: Pulls): readonly string[] {
  const reasons = JSON.stringify(pulls.reasons);
  return pulls.lost > 0 ? [`${pulls.lost} pulls failed in every attempt: ${reasons}`] : [];
}

export function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
