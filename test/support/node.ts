import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { NodeConfigurationOptions } from '../../src/commands/node-configuration.ts';
import { createLogger } from '../../src/telemetry/log.ts';
import { RepeatedLines } from '../../src/telemetry/repeated-lines.ts';
import { temporaryDirectory } from './temp-directory.ts';

export const certs = '/etc/containerd/certs.d';

/** A node: the root of its file system, and the settings that are applied to it. */
export class TestNode {
  readonly #folder: string;
  readonly root: string;
  readonly lines: { readonly action?: unknown; readonly file?: string; readonly [field: string]: unknown }[] = [];
  readonly #stop = new AbortController();

  constructor(folder: string) {
    this.#folder = folder;
    this.root = join(folder, 'root');
  }

  get options(): NodeConfigurationOptions {
    const write = (text: string) => this.lines.push(JSON.parse(text));
    return {
      file: join(this.#folder, 'settings.json'),
      root: this.root,
      nodeIP: '10.0.0.7',
      readyFile: join(this.#folder, 'ready'),
      log: { logger: createLogger({ level: 'info', repeated: new RepeatedLines() }, write), flush: () => {} },
      stop: this.#stop.signal,
      wait: async () => {},
    };
  }

  stop(): void {
    this.#stop.abort();
  }

  async isReady(): Promise<boolean> {
    return (await readdir(this.#folder)).includes('ready');
  }

  async set(settings: object): Promise<void> {
    const usual = {
      owner: 'cache/layerwell',
      runtime: 'containerd',
      mirrors: ['http://{nodeIP}:30500'],
      registries: [],
    };
    await writeFile(join(this.#folder, 'settings.json'), JSON.stringify({ ...usual, ...settings }));
  }

  async write(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(this.root, path)), { recursive: true });
    await writeFile(join(this.root, path), text);
  }

  read(path: string): Promise<string> {
    return readFile(join(this.root, path), 'utf8');
  }

  /** Every file in its file system, with the folders that are empty. */
  async files(): Promise<readonly string[]> {
    const entries = await readdir(this.root, { recursive: true, withFileTypes: true });
    const paths = entries.map((entry) => join(entry.parentPath, entry.name).slice(this.root.length));
    return paths.filter((path) => !paths.some((other) => other.startsWith(`${path}/`))).toSorted();
  }

  /** What was done about which file, by the log. */
  get actions(): readonly string[] {
    return this.lines.flatMap(({ action, file }) => (typeof action === 'string' ? [`${action} ${file}`] : []));
  }
}

export async function testNode(settings: object = {}): Promise<TestNode> {
  const node = new TestNode(await temporaryDirectory());
  await mkdir(node.root);
  await node.set(settings);
  return node;
}
