import { type FaultKind, faultKinds } from './faults.ts';

/** How an upstream misbehaves for a while: with which faults, and how often. */
export interface FaultPlan {
  readonly kinds: readonly FaultKind[];
  /** The probability of a fault per request, from 0 to 1. */
  readonly rate: number;
}

export const noFaults: FaultPlan = { kinds: [], rate: 0 };

/** A message from an upstream's process: it is listening, or the fault it has just committed. */
export type UpstreamReport = 'ready' | FaultKind;

export function reportIn(message: unknown): UpstreamReport | undefined {
  return (['ready', ...faultKinds] as const).find((report) => report === message);
}

export function isFaultPlan(message: unknown): message is FaultPlan {
  return typeof message === 'object' && message !== null && 'rate' in message && 'kinds' in message;
}
