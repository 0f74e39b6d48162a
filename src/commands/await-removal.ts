import { setTimeout as sleep } from 'node:timers/promises';
import { type ApiServer, apiServerIn, askApiServer } from './kubernetes/api-server.ts';

export interface AwaitRemovalFromOptions {
  /** `<namespace>/<name>`. */
  readonly daemonSet: string;
  /** Seconds. */
  readonly within: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly print: (text: string) => void;
}

/**
 * Waits in a pod of the cluster. A node that is down does not make it fail: it would keep the release from being uninstalled.
 * @returns the exit code, which is 0.
 */
export async function awaitRemovalFrom({ daemonSet, within, env, print }: AwaitRemovalFromOptions): Promise<number> {
  const [namespace = '', name = ''] = daemonSet.split('/');
  const server = apiServerIn(env);
  const isRemoved = server && (await awaitRemoval({ server, namespace, name, withinMs: within * 1_000 }));
  print(
    isRemoved
      ? 'removed from every node\n'
      : `not removed from every node within ${within} s: see the pods of ${daemonSet}\n`,
  );
  return 0;
}

export interface AwaitRemovalOptions {
  readonly server: ApiServer;
  readonly namespace: string;
  readonly name: string;
  readonly withinMs: number;
  readonly pollMs?: number;
}

const askWithinMs = 5_000;
/** etcd keeps no larger objects. */
const maxAnswerBytes = 2 * 1024 * 1024;

/**
 * Waits until every pod of the DaemonSet that removes the files is ready, which it is when it has removed them.
 * @returns whether all were in time: a node that is down never is.
 */
export async function awaitRemoval({ withinMs, pollMs = 1_000, ...daemonSet }: AwaitRemovalOptions): Promise<boolean> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    if (isDone(await statusOf(daemonSet).catch(() => undefined))) return true;
    if (!(performance.now() + pollMs <= untilMs)) return false; // Also for NaN.
    await sleep(pollMs);
  }
}

function statusOf({ server, namespace, name }: Omit<AwaitRemovalOptions, 'withinMs' | 'pollMs'>): Promise<unknown> {
  const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`;
  return askApiServer(server, { path, maxBytes: maxAnswerBytes, signal: AbortSignal.timeout(askWithinMs) });
}

/** Whether the controller has seen the DaemonSet, and every node that should run its pod has one that is ready. Pure. */
export function isDone(daemonSet: unknown): boolean {
  const status = member(daemonSet, 'status');
  const observed = member(status, 'observedGeneration');
  const wanted = member(status, 'desiredNumberScheduled');
  const ready = member(status, 'numberReady');
  return (
    typeof observed === 'number' &&
    observed > 0 &&
    typeof wanted === 'number' &&
    typeof ready === 'number' &&
    ready >= wanted
  );
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}
