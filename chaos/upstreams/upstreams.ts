import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';
import { type UpstreamName, upstreamNames } from '../world.ts';
import type { FaultKind } from './faults.ts';
import { noFaults, type FaultPlan, reportIn } from './messages.ts';

export interface UpstreamDeps {
  readonly seed: string;
  readonly onFault: (kind: FaultKind) => void;
}

/** A registry in its own process, always on the same port. */
export class Upstream {
  readonly name: UpstreamName;
  readonly url: string;
  readonly #port: number;
  readonly #deps: UpstreamDeps;
  #child: ChildProcess | undefined;
  #lives = 0;

  constructor(name: UpstreamName, port: number, deps: UpstreamDeps) {
    this.name = name;
    this.#port = port;
    this.#deps = deps;
    this.url = `http://127.0.0.1:${port}`;
  }

  async start(): Promise<void> {
    this.#lives += 1;
    const script = join(import.meta.dirname, 'upstream-process.ts');
    const child = fork(script, [this.name, String(this.#port), this.#deps.seed, String(this.#lives)]);
    this.#child = child;
    const ready = Promise.withResolvers<void>();
    child.on('message', (message: unknown) => {
      const report = reportIn(message);
      if (report === 'ready') ready.resolve();
      else if (report) this.#deps.onFault(report);
    });
    child.once('exit', (code, signal) => ready.reject(new Error(`${this.name} ended with ${code ?? signal}`)));
    await ready.promise;
  }

  /** Sets its faults; `noFaults` ends them. */
  setFaults(plan: FaultPlan): void {
    if (this.#child?.connected) this.#child.send(plan);
  }

  /** Accepts connections but answers nothing, until {@link thaw}. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Makes it run without faults, whatever was done to it. */
  async recover(): Promise<void> {
    if (!this.#child) await this.start();
    this.thaw();
    this.setFaults(noFaults);
  }
}

/** Starts one registry for every name. They must be killed. */
export async function startUpstreams(deps: UpstreamDeps): Promise<readonly Upstream[]> {
  const upstreams: Upstream[] = [];
  for (const name of upstreamNames) upstreams.push(new Upstream(name, await freePort(), deps));
  await Promise.all(upstreams.map((upstream) => upstream.start()));
  return upstreams;
}
