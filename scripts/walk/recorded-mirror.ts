import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../test/support/free-port.ts';
import { isRecording, type Recording } from './recording.ts';

const root = join(import.meta.dirname, '..', '..');

/** Both walks take a few seconds. A process that hangs is killed, so that its test fails. */
const endsWithinMs = 80_000;

export interface RecordedMirrorOptions {
  /** Its upstream, configured as docker.io. */
  readonly upstreamUrl: string;
  /** For its store and its configuration. */
  readonly folder: string;
}

/** Starts the program with the recorder, and waits until it listens. @throws Error if it exits instead. */
export async function startRecordedMirror({ upstreamUrl, folder }: RecordedMirrorOptions): Promise<RecordedMirror> {
  const port = await freePort();
  const file = join(folder, 'mirror.config.json');
  const config = {
    listen: { host: '127.0.0.1', port },
    management: { host: '127.0.0.1', port: await freePort() },
    storage: { path: join(folder, 'data') },
    defaultUpstream: 'docker.io',
    upstreams: { 'docker.io': { url: upstreamUrl } },
  };
  await writeFile(file, JSON.stringify(config));
  const recorder = join(import.meta.dirname, 'recorder.ts');
  const args = ['--import', recorder, join(root, 'src', 'main.ts'), 'serve', '--config', file];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
    timeout: endsWithinMs,
    killSignal: 'SIGKILL',
  });
  await listening(child);
  return new RecordedMirror(child, `http://127.0.0.1:${port}`);
}

export class RecordedMirror {
  readonly url: string;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess, url: string) {
    this.#child = child;
    this.url = url;
  }

  /** Records the functions of src/ that `pull` runs, until no more are called. */
  async record(pull: () => Promise<unknown>): Promise<Recording> {
    await this.#ask('begin');
    await pull();
    const recording = await this.#ask('end');
    if (!isRecording(recording)) throw new Error(`not a recording: ${JSON.stringify(recording)}`);
    return recording;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  /** @throws Error if the process ends before it answers. */
  async #ask(message: string): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const ended = () => reject(new Error(`the mirror ended before it answered ${message}`));
    this.#child.once('message', resolve).once('exit', ended);
    this.#child.send(message);
    return promise.finally(() => this.#child.off('exit', ended));
  }
}

async function listening(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let printed = '';
  child.once('exit', () => reject(new Error(`the mirror ended before it listened: ${printed}`)));
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    if (printed.includes('"msg":"listening"')) resolve();
  });
  await promise;
}
