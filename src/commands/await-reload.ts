import { lookup as resolve } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfig } from '../config/loading/load.ts';
import { boundedText } from './api/client.ts';
import { timeLimited } from '../mirror/concurrency/abortable-wait.ts';
import { isJsonObject, parseJsonObject } from '../oci/json.ts';
import { withoutBrackets } from '../oci/reference.ts';
import { type Clock, systemClock } from '../mirror/ports/clock.ts';

export interface AwaitReloadOptions {
  /** The configuration file that the mirrors are to use. */
  readonly file: string;
  /** Of their management listeners, as `host:port`. The host may be the name of several mirrors. */
  readonly address: string;
  readonly withinMs: number;
  readonly print: (text: string) => void;
  /** For tests. */
  readonly answersWithinMs?: number;
  /** The addresses of a host. By default the system's. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  readonly wait?: (ms: number) => Promise<unknown>;
}

/** What one mirror says of the configuration. */
export type MirrorState =
  | { readonly kind: 'uses-it' }
  | { readonly kind: 'needs-restart'; readonly sections: string }
  | { readonly kind: 'refused-it' }
  | { readonly kind: 'uses-another' }
  | { readonly kind: 'no-answer'; readonly reason: string };

const failed = 1;
const lookEveryMs = 1_000;
/** A name server, or a mirror. */
const usuallyAnswersWithinMs = 3_000;
/** Far more than /readyz says of hundreds of upstreams. */
const maxAnswerBytes = 1024 * 1024;
/** If no mirror can be reached at all for so long, the way to them is closed (DNS, a NetworkPolicy), which says nothing about them. */
const reachesOneWithinMs = 60_000;

/**
 * Waits until every mirror at an address uses a configuration. Mirrors notice a changed file by themselves; Kubernetes may need a minute
 * until it changes the file in a pod.
 * @returns the exit code: 0, or 1 when a mirror refused the configuration or does not use it in time. When no mirror can be reached, the
 *   exit code is 0 too: nothing was confirmed, as the text says.
 * @throws ConfigError when the file cannot be read.
 */
export async function awaitReload(options: AwaitReloadOptions): Promise<number> {
  const { file, address, withinMs, print, clock = systemClock, wait = sleep } = options;
  const { sha256 } = await readConfig(file);
  const beganMs = clock.monotonicMs();
  let wasReached = false;
  for (;;) {
    const states = await statesOf(options, sha256);
    wasReached ||= [...states.values()].some(({ kind }) => kind !== 'no-answer');
    const tookMs = clock.monotonicMs() - beganMs;
    const verdict = verdictOf([...states.values()], { isLate: tookMs >= withinMs });
    const isCutOff = !wasReached && tookMs >= Math.min(reachesOneWithinMs, withinMs);
    if (verdict === 'wait' && !isCutOff) {
      await wait(lookEveryMs);
      continue;
    }
    for (const [one, state] of states) print(`${one}: ${wordsFor(state)}\n`);
    if (!isCutOff) return verdict === 'done' ? 0 : failed;
    print(`not confirmed: no mirror can be reached at ${address}\n`);
    return 0;
  }
}

/** Whether the wait is over. Mirrors that only need a restart are not waited for beyond the deadline: it may be the operator's to do. Pure. */
export function verdictOf(
  states: readonly MirrorState[],
  { isLate }: { readonly isLate: boolean },
): 'done' | 'failed' | 'wait' {
  if (states.some(({ kind }) => kind === 'refused-it')) return 'failed';
  if (states.length > 0 && states.every(({ kind }) => kind === 'uses-it')) return 'done';
  if (!isLate) return 'wait';
  const inUse = states.every(({ kind }) => kind === 'uses-it' || kind === 'needs-restart');
  return inUse && states.length > 0 ? 'done' : 'failed';
}

function wordsFor(state: MirrorState): string {
  switch (state.kind) {
    case 'uses-it':
      return 'uses the configuration';
    case 'needs-restart':
      return `needs a restart for ${state.sections}`;
    case 'refused-it':
      return 'refused the configuration and uses the previous one; its log says why';
    case 'uses-another':
      return 'uses another configuration: its file has not changed yet';
    case 'no-answer':
      return `does not answer (${state.reason})`;
  }
}

/** The state of each mirror by its address; of the address itself when it cannot be looked up. */
async function statesOf(
  { address, lookup = systemLookup, answersWithinMs = usuallyAnswersWithinMs }: AwaitReloadOptions,
  sha256: string,
): Promise<ReadonlyMap<string, MirrorState>> {
  const { hostname, port } = new URL(`http://${address}`);
  try {
    const looking = lookup(withoutBrackets(hostname));
    const found = await timeLimited(looking, answersWithinMs, () => new Error('its name is not looked up in time'));
    const places = found.map((one) => `${isIPv6(one) ? `[${one}]` : one}:${port}`);
    const asked = places.map(async (place) => [place, await stateOf(place, { sha256, answersWithinMs })] as const);
    return new Map(await Promise.all(asked));
  } catch (cause) {
    return new Map([[address, { kind: 'no-answer', reason: reasonOf(cause) }]]);
  }
}

async function systemLookup(host: string): Promise<readonly string[]> {
  return (await resolve(host, { all: true })).map(({ address }) => address);
}

async function stateOf(
  place: string,
  { sha256, answersWithinMs }: { readonly sha256: string; readonly answersWithinMs: number },
): Promise<MirrorState> {
  try {
    const signal = AbortSignal.timeout(answersWithinMs);
    const answer = await fetch(`http://${place}/readyz`, { redirect: 'error', signal });
    return stateIn(await boundedText(answer, maxAnswerBytes), sha256);
  } catch (cause) {
    return { kind: 'no-answer', reason: reasonOf(cause) };
  }
}

/** The state in the body of `/readyz`. Pure. */
function stateIn(body: string, sha256: string): MirrorState {
  const config = parseJsonObject(body)?.['config'];
  const { sha256: used, refused, needRestart } = isJsonObject(config) ? config : {};
  if (refused === sha256) return { kind: 'refused-it' };
  if (used !== sha256) return { kind: 'uses-another' };
  return Array.isArray(needRestart) && needRestart.length > 0
    ? { kind: 'needs-restart', sections: needRestart.join(', ') }
    : { kind: 'uses-it' };
}

function reasonOf(cause: unknown): string {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
  if (inner instanceof Error && 'code' in inner && typeof inner.code === 'string') return inner.code;
  return inner instanceof Error ? inner.message : String(inner);
}
