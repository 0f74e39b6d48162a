import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  /** For commands that may fail. */
  readonly mayFail?: boolean;
  readonly withinMs?: number;
}

/** How to reach a cluster, from the environment. docs/kubernetes.md lists the variables. */
export interface ClusterOptions {
  /** Words before `kubectl` and `helm`; none where both use KUBECONFIG on this machine. */
  readonly client: readonly string[];
  /** Words before a command that runs on the node. Undefined: tests that need it are left out. */
  readonly node: readonly string[] | undefined;
}

/** kubectl, helm and the node of one cluster. */
export class Cluster {
  readonly #options: ClusterOptions;

  constructor(options: ClusterOptions) {
    this.#options = options;
  }

  kubectl(args: readonly string[], options: RunOptions = {}): Promise<Output> {
    return run([...this.#options.client, 'kubectl', ...args], options);
  }

  helm(args: readonly string[], options: RunOptions = {}): Promise<Output> {
    return run([...this.#options.client, 'helm', ...args], options);
  }

  /** A script that calls kubectl and helm. */
  shell(script: string, options: RunOptions = {}): Promise<Output> {
    return run([...this.#options.client, 'sh', '-euc', script], options);
  }

  /** A shell command on the node. */
  async onNode(command: string, options: RunOptions = {}): Promise<string> {
    if (!this.#options.node) throw new Error('CLUSTER_EXEC says how to run a command on the node');
    return (await run([...this.#options.node, 'sh', '-c', command], options)).stdout;
  }

  get hasNode(): boolean {
    return this.#options.node !== undefined;
  }

  /** Starts kubectl with its streams, for a command that runs beside others. */
  start(args: readonly string[]): Running {
    return new Running([...this.#options.client, 'kubectl', ...args]);
  }

  async apply(yaml: string, namespace: string): Promise<Output> {
    return this.kubectl(['apply', '--namespace', namespace, '--filename', '-'], { input: yaml });
  }

  /** What kubectl prints of an object with this JSONPath. */
  async read(object: string, path: string, namespace: string): Promise<string> {
    const args = ['get', ...object.split(' '), '--namespace', namespace, '--output', `jsonpath=${path}`];
    return (await this.kubectl(args)).stdout.trim();
  }
}

/** A command whose stdin stays open until it is asked to end. */
export class Running {
  readonly #child;
  readonly #stdout: Promise<string>;
  readonly #stderr: Promise<string>;
  readonly #closed: Promise<unknown>;

  constructor(command: readonly string[]) {
    const [program = '', ...args] = command;
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#stdout = text(this.#child.stdout);
    this.#stderr = text(this.#child.stderr);
    this.#closed = once(this.#child, 'close');
    this.#child.stdin.on('error', () => {});
  }

  /** Asks it to end by a line on its stdin: kubectl sometimes loses the mere end of stdin. @returns what it printed. */
  async end(): Promise<string> {
    this.#child.stdin.end('stop\n');
    await this.#closed;
    const output = await this.#stdout;
    if (this.#child.exitCode !== 0)
      throw new Error(`it ended with ${this.#child.exitCode}: ${output}${await this.#stderr}`);
    return output;
  }

  /** Waits for its end without asking for it. */
  async ended(): Promise<Output> {
    await this.#closed;
    return { code: this.#child.exitCode ?? -1, stdout: await this.#stdout, stderr: await this.#stderr };
  }
}

/** Runs a command to its end. @throws with what it printed when it fails or takes too long. */
async function run(command: readonly string[], { input, mayFail, withinMs = 300_000 }: RunOptions): Promise<Output> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: withinMs, killSignal: 'SIGKILL' });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const code = child.exitCode ?? -1;
  if (code !== 0 && mayFail !== true) throw new Error(`${command.join(' ')}\nended with ${code}\n${stdout}${stderr}`);
  return { code, stdout, stderr };
}

/** Asks until the answer is true. @throws after `withinMs`. @returns how long it took. */
export async function until(
  what: string,
  isSo: () => Promise<boolean>,
  { withinMs = 120_000, everyMs = 500 } = {},
): Promise<number> {
  const fromMs = performance.now();
  while (!(await isSo())) {
    if (performance.now() - fromMs > withinMs) throw new Error(`not within ${withinMs / 1000} s: ${what}`);
    await sleep(everyMs);
  }
  return performance.now() - fromMs;
}
