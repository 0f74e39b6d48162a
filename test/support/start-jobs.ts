import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ApiAnswer, askApi } from './api-answers.ts';
import { type FakeRegistry, type FakeRegistryOptions, startFakeRegistry } from './fake-registry.ts';
import { type Replaced, type RunningApp, startApp } from './start-app.ts';
import type { MirrorConfig } from './start-mirror.ts';
import { temporaryDirectory } from './temp-directory.ts';

const headers = { 'content-type': 'application/json' };

/** A mirror of one registry, whose API takes a token, and begins jobs. */
export interface WithJobs {
  readonly hub: FakeRegistry;
  readonly app: RunningApp;
  readonly token: string;
  readonly tokenFile: string;
  /** Asks for a job, `warm` or `verify`. */
  readonly begin: (kind: string, body: object) => Promise<ApiAnswer>;
  /** Asks for a job, and waits for its end. @returns the job. */
  readonly done: (kind: string, body: object) => Promise<Readonly<Record<string, unknown>>>;
  readonly cancel: (id: string) => Promise<ApiAnswer>;
}

export interface WithJobsOptions extends Replaced {
  readonly registry?: FakeRegistryOptions;
  /** Of the upstream. */
  readonly upstream?: object;
  readonly config?: MirrorConfig;
}

export async function startWithJobs(options: WithJobsOptions = {}): Promise<WithJobs> {
  const { registry, upstream, config, ...replaced } = options;
  const hub = await startFakeRegistry(registry);
  const token = 'a'.repeat(40);
  const tokenFile = join(await temporaryDirectory(), 'token');
  await writeFile(tokenFile, token);
  const management = { host: '127.0.0.1', port: 0, tokenFile };
  const upstreams = { 'docker.io': { url: hub.url, ...upstream } };
  const app = await startApp({ upstreams, management, ...config }, replaced);
  const begin = (kind: string, body: object) =>
    askApi(app, `/api/v1/${kind}`, { method: 'POST', token, headers, body: JSON.stringify(body) });
  return {
    hub,
    app,
    token,
    tokenFile,
    begin,
    done: async (kind, body) => endOf(app, idOf(await begin(kind, body))),
    cancel: (id) => askApi(app, `/api/v1/jobs/${id}`, { method: 'DELETE', token }),
  };
}

/** @throws Error when no job was begun. */
export function idOf({ status, body }: ApiAnswer): string {
  if (status !== 202) throw new Error(`answered ${status}: ${JSON.stringify(body)}`);
  return String(body['id']);
}

/** The job, when it has ended. */
export async function endOf(app: RunningApp, id: string): Promise<Readonly<Record<string, unknown>>> {
  for (;;) {
    const { body } = await askApi(app, `/api/v1/jobs/${id}`);
    if (body['state'] !== 'running') return { ...body };
    await new Promise(setImmediate);
  }
}
