import { ask } from '../support/client.ts';
import { type FakeRegistry, startFakeRegistry } from '../support/fake-registry.ts';
import { thisSuite } from '../support/owner.ts';
import { type RunningApp, startAppInMemory } from '../support/start-app.ts';
import { blob, held, repository } from './request-text.ts';
import { answersIn, sendBytes, type WireAnswer } from './wire.ts';

export interface Told {
  readonly answers: readonly WireAnswer[];
  readonly end: 'closed' | 'silent';
}

/** An app before two upstreams that have the same, for all tests of the file that calls this. */
export function fuzzedApp(owner = thisSuite()) {
  const upstreams: FakeRegistry[] = [];
  let app: RunningApp | undefined;
  const running = (): RunningApp => {
    if (!app) throw new Error('not started');
    return app;
  };
  return {
    async start(): Promise<void> {
      for (let count = 0; count < 2; count += 1) upstreams.push(await startFakeRegistry({ owner }));
      for (const { content } of upstreams) {
        content.add(repository, '1', held);
        content.addBlob(repository, blob);
      }
      const [one, other] = upstreams;
      const named = { 'docker.io': { url: one?.url }, 'ghcr.io': { url: other?.url } };
      app = await startAppInMemory({ defaultUpstream: 'docker.io', upstreams: named }, { owner });
      await ask(app, `/v2/${repository}/blobs/${blob.digest}`);
      await app.quiet();
    },

    get host(): string {
      return running().host;
    },

    /** Paths that the upstreams were asked for. */
    paths: (): readonly string[] => upstreams.flatMap(({ requests }) => requests.map(({ path }) => path)),

    forgetPaths(): void {
      for (const upstream of upstreams) upstream.forgetRequests();
    },

    async send(text: string, methods: readonly string[] = []): Promise<Told> {
      const { received, end } = await sendBytes(running().host, Buffer.from(text, 'latin1'));
      return { answers: answersIn(received, methods), end };
    },

    /** The status of a ping, and every bug it told of: `200` and none while it is well. */
    async health(): Promise<{ readonly status: number; readonly bugs: readonly unknown[] }> {
      const { status } = await ask(running(), '/v2/');
      return { status, bugs: running().logLines.filter(({ msg }) => msg === 'unexpected error') };
    },
  };
}

/** What it is while nothing is wrong. */
export const healthy = { status: 200, bugs: [] };
