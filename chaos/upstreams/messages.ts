import { type FaultKind, faultKinds } from './faults.ts';

/** How an upstream is for a while: so often, one of these faults strikes. */
export interface Mood {
  readonly kinds: readonly FaultKind[];
  /** From 0 to 1. */
  readonly rate: number;
}

export const honestMood: Mood = { kinds: [], rate: 0 };

/** What an upstream's process tells: that it listens, or what it has just done wrong. */
export type UpstreamReport = 'ready' | FaultKind;

export function reportIn(message: unknown): UpstreamReport | undefined {
  return (['ready', ...faultKinds] as const).find((report) => report === message);
}

export function isMood(message: unknown): message is Mood {
  return typeof message === 'object' && message !== null && 'rate' in message && 'kinds' in message;
}
