import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { freePort } from '../../support/free-port.ts';
import { thisTest } from '../../support/owner.ts';
import { StartedProcess } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temp-directory.ts';
import { tool } from '../../support/tools.ts';

/** Where a job is scraped: URLs of management listeners. */
export type Jobs = Readonly<Record<string, readonly string[]>>;

const sample = z.tuple([z.number(), z.string()]);
const vector = z.object({ data: z.object({ result: z.array(z.object({ value: sample })) }) });
const ruleGroups = z.object({
  data: z.object({
    groups: z.array(z.object({ rules: z.array(z.object({ name: z.string(), lastError: z.string().optional() })) })),
  }),
});

/** A real Prometheus with the rules of the chart; it scrapes and evaluates every second. */
export async function startPrometheus(jobs: Jobs): Promise<Prometheus> {
  const folder = await temporaryDirectory();
  const [config, port] = [join(folder, 'prometheus.yaml'), await freePort()];
  const scrape = Object.entries(jobs).map(([name, urls]) => ({
    job_name: name,
    static_configs: [{ targets: urls.map((url) => new URL(url).host) }],
  }));
  const every = { scrape_interval: '1s', evaluation_interval: '1s' };
  const rules = [resolve('charts/layerwell/rules/layerwell.yaml')];
  await writeFile(config, stringify({ global: every, rule_files: rules, scrape_configs: scrape }));
  const address = `127.0.0.1:${port}`;
  const server = new StartedProcess(tool('prometheus'), [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=${address}`,
  ]);
  thisTest(async () => void (await server.stop({ signal: 'SIGKILL' })));
  await server.waitUntil(({ output }) => output.includes('Server is ready to receive web requests'));
  return new Prometheus(`http://${address}`);
}

export class Prometheus {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** The values of an instant query. @throws when Prometheus refuses it. */
  async values(query: string): Promise<readonly number[]> {
    const answer = await this.#ask(`query?${new URLSearchParams({ query }).toString()}`);
    return vector.parse(answer).data.result.map(({ value }) => Number(value[1]));
  }

  /** The only value of a query. @throws when there is none, or there are several. */
  async value(query: string): Promise<number> {
    const [value, ...others] = await this.values(query);
    if (value === undefined || others.length > 0) throw new Error(`not one value: ${query}`);
    return value;
  }

  /** Each rule that could not be evaluated, with its error. */
  async failedRules(): Promise<readonly string[]> {
    const { data } = ruleGroups.parse(await this.#ask('rules'));
    const rules = data.groups.flatMap((group) => group.rules);
    return rules.filter(({ lastError = '' }) => lastError !== '').map(({ name, lastError }) => `${name}: ${lastError}`);
  }

  async #ask(path: string): Promise<unknown> {
    const answer = await fetch(`${this.#url}/api/v1/${path}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${text}`);
    return JSON.parse(text);
  }
}
