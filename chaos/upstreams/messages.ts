import { type FaultKind, faultKinds } from './faults.ts';

/** How an upstream misbehaves for a while: with which faults, and how often. */
export interface Mood {
  readonly kinds: readonly FaultKind[];
  /** The probability of a fault per request, from 0 to 1. */
  readonly rate: number;
}

export const honestMood: Mood = { kinds: [], rate: 0 };

/** A message from an upstream's process: it is listening, or the fault it has just committed. */
export type UpstreamReport = 'ready' | FaultKind;

export function reportIn(message: unknown): UpstreamReport | undefined {
  return (['ready', ...faultKinds] as const).find((report) => report === message);
}

export function isMood(message: unknown): message is Mood {
  return typeof message === 'object' && message !== null && 'rate' in message && 'kinds' in message;
}
