/**
 * `node pull-loop.ts URL CLIENTS IMAGE`: pulls in a loop from a mirror until a line comes on stdin, and verifies every byte. One pull in ten is of an
 * image that the mirror does not have. Each pull has a connection of its own. Prints one line of JSON. Needs nothing but Node and
 * `pull-summary.ts` beside it.
 *
 * A failed attempt is a failure even if a real client would repeat it. `lost` counts the pulls that failed in every one of four attempts
 * within about two seconds, or that had to wait for a request longer than {@link silentForMs}.
 */
import { createHash } from 'node:crypto';
import { Agent, request } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Attempt, summaryOf } from './pull-summary.ts';

const [base = '', clients = '2', image = 'library/app:warm'] = process.argv.slice(2);
const [repository = '', tag = ''] = image.split(':');
const isTls = base.startsWith('https:');
/** As containerd waits for an answer, and dockerd. */
const silentForMs = 30_000;
const accept = 'application/vnd.oci.image.manifest.v1+json';
const startedMs = performance.now();
const attempts: Attempt[] = [];
let lost = 0;
let cold = 0;
let isStopping = false;
process.stdin.on('end', stop).on('data', stop);

function stop(): void {
  isStopping = true;
  process.stdin.destroy();
}

function get(agent: Agent, path: string): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const send = isTls ? tlsRequest : request;
  const asked = send(
    `${base}${path}?ns=docker.io`,
    { agent, headers: { accept }, timeout: silentForMs },
    (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const body = Buffer.concat(parts);
        if (response.statusCode !== 200) reject(new Error(`HTTP ${response.statusCode}`));
        else if (!response.complete) reject(new Error('cut short'));
        else resolve(body);
      });
    },
  );
  asked.on('timeout', () => asked.destroy(new Error('no answer')));
  asked.on('error', reject).end();
  return promise;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

interface Manifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

async function pull(wanted: string): Promise<void> {
  const options = { keepAlive: true, maxSockets: 1 };
  const agent = isTls ? new TlsAgent({ ...options, rejectUnauthorized: false }) : new Agent(options);
  try {
    const manifest: Manifest = JSON.parse((await get(agent, `/v2/${repository}/manifests/${wanted}`)).toString());
    for (const { digest } of [manifest.config, ...manifest.layers]) {
      if (digestOf(await get(agent, `/v2/${repository}/blobs/${digest}`)) !== digest) throw new Error('wrong bytes');
    }
  } finally {
    agent.destroy();
  }
}

async function attempt(wanted: string): Promise<boolean> {
  const fromMs = performance.now() - startedMs;
  const reason = await pull(wanted).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? ('code' in error && String(error.code)) || error.message : 'unknown'),
  );
  attempts.push({ fromMs, toMs: performance.now() - startedMs, reason });
  return reason === undefined;
}

async function repeated(wanted: string): Promise<void> {
  for (const pauseMs of [50, 500, 1_500]) {
    if (await attempt(wanted)) return;
    await sleep(pauseMs);
  }
  if (!(await attempt(wanted))) lost += 1;
}

async function client(nth: number): Promise<void> {
  for (let pulls = 0; !isStopping; pulls++) {
    await repeated(pulls % 10 === 9 ? `cold-${process.pid}-${Date.now()}-${nth}-${cold++}` : tag);
    await sleep(10);
  }
}

await Promise.all(Array.from({ length: Number(clients) }, (_, nth) => client(nth)));
const endedMs = performance.now() - startedMs;
process.stdout.write(`${JSON.stringify(summaryOf(attempts, { lost, endedMs }))}\n`);
