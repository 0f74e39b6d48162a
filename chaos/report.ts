import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import type { BrokenTransfer } from './broken-transfer.ts';
import type { Ledger } from './ledger.ts';
import { maxCacheBytes } from './mirror-config.ts';
import type { ChaosOptions } from './options.ts';
import type { ProcessState } from './process-state.ts';
import type { Disk } from './faults/disk.ts';

/** Measurements that are not counts. */
export interface Figures {
  readonly realClients: readonly string[];
  /** The process of the second part, at its start and when it is idle at the end. */
  readonly fresh: ProcessState;
  readonly settled: ProcessState;
  /** Samples of that process, one per second. */
  readonly samples: readonly ProcessState[];
  readonly healedAfterSeconds: number | undefined;
  readonly brokenTransfer: BrokenTransfer;
}

export interface RunOutcome {
  readonly options: ChaosOptions;
  readonly ledger: Ledger;
  readonly figures: Figures;
  readonly disk: Disk;
  /** Of replicas. */
  readonly hasBucket: boolean;
}

/** Prints a summary and writes the report. */
export async function writeReport(outcome: RunOutcome): Promise<void> {
  const { options, ledger } = outcome;
  const { pulls, faults } = { pulls: ledger.total('pulls'), faults: ledger.total('faults') };
  process.stdout.write(`${pulls} pulls, ${faults} faults, ${ledger.violations.length} violations\n`);
  if (options.reportFile === undefined) return;
  const written = await readFile(options.reportFile, 'utf8').catch(() => '');
  await writeFile(options.reportFile, pageWith(written, headingOf(options), resultOf(outcome)));
}

/** What the run does, and what it checks. */
const introduction = `# Chaos

Clients pull through a mirror while its upstreams die, stall and send wrong data, its disk fills up, its files are damaged, it runs out of
file descriptors, and it is killed and restarted. Hostile registries and clients run at the same time, and so does a second mirror whose
store has no room. \`npm run chaos\` takes about six minutes and writes this page. It exits with an error if a promise was broken.

\`\`\`sh
npm run chaos                    # a new seed for every run; it is printed
npm run chaos -- --seed 7        # the same images, clients, faults and damage
npm run chaos -- --minutes 30
npm run chaos -- --replicas 3    # three replicas with Redis, Sentinels and a bucket, which fail too
\`\`\`

The seed decides which images exist, what every client requests, which faults each upstream has, and what is damaged. The timing depends on
the machine.

## Hostile registries and clients

- A registry that never answers, and one that sends one byte per second. 40 clients at a time pull from each.
- A registry that is asked for blobs of another one. It never finishes them, sends wrong or too few bytes, or claims a length that is too
  large.
- A registry with manifests of 4 MB and 38,000 layers, lists of 1,400,000 tags, and an endless list.
- Clients that reset their connection at a random moment, send 4,100 requests at once and read no response, request records and listings
  of unknown names, or open TLS connections and stay silent.

## What is checked

- Every complete response has the right bytes. A partial response is the range it claims to be, or the whole blob.
- A blob of 256 MiB that its upstream cuts twenty times arrives in one pull, and at most one percent of it is downloaded twice.
- Every other response is an error of the spec with its true status (403, 404 for missing content, 429 with \`Retry-After\`, 502, 503, 504),
  or a cut connection. Headers arrive within 25 s.
- Images cached before the first fault (\`pinned\`, and the \`real\` images of the real clients, both kept by \`storage.keep\`) are always
  served, unless the process is down or out of descriptors. Images that are damaged on disk (\`doomed\`) may fail, but wrong bytes are
  never served as complete: with \`storage.verifyReads\`, which is on here and off by default, a damaged file is cut while it is read.
  Without it, the scrubber finds the damage.
- One registry never fails. Its clients get every response within 5 s, cold or cached, without an error, unless the process is down
  or out of descriptors. The same holds for its clients of the second mirror, which can store nothing.
- The store never uses more disk than \`storage.maxSize\` plus 8 MiB.
- With replicas: the first two keep their index in Redis, too. The second and third are killed and restarted, or frozen and woken. Toxiproxy
  cuts each of them off from Redis, its siblings, the bucket or the upstreams, or from all of them: the links fall silent, in one direction or
  both, are reset, refuse, or are slow. Redis has a replica and three Sentinels: its primary is killed, frozen, flushed, filled and failed over. The bucket
  throttles. None of this may fail a client of another replica; only the clients of the healthy registry may wait 12 s instead of 5 s, because
  a replica waits 5 s for another one that is frozen.
- At the end, without faults: every image can be pulled; the mirror holds no more descriptors, sockets and timers than at its start; its
  memory has stopped growing; \`incoming/\` holds only partial downloads with their checkpoints; every stored blob that was not damaged
  matches its digest; the log reports no bug and no unhandled rejection; SIGTERM ends the process with exit code 0.`;

/** The headings of the results, in the order in which the page has them. */
const headings = ['The last run', 'The last run with replicas'] as const;
type Heading = (typeof headings)[number];

function headingOf({ replicas }: ChaosOptions): Heading {
  return replicas > 1 ? 'The last run with replicas' : 'The last run';
}

/** The page with this result, and the result of the other kind of run that was there before. Pure. */
export function pageWith(page: string, heading: Heading, result: string): string {
  const results = headings.map((one) => ({ one, text: one === heading ? result : sectionOf(page, one) }));
  const sections = results.flatMap(({ one, text }) => (text === undefined ? [] : [`## ${one}\n\n${text.trim()}`]));
  return `${[introduction, ...sections].join('\n\n')}\n`;
}

function sectionOf(page: string, heading: Heading): string | undefined {
  const [, rest] = page.split(`\n## ${heading}\n`);
  return rest?.split('\n## ')[0];
}

function resultOf(outcome: RunOutcome): string {
  const { options, ledger } = outcome;
  return `Seed \`${options.seed}\`, ${new Date().toISOString().slice(0, 10)}: ${options.minutes} minutes of faults, ${Math.round(ledger.seconds)} s in all, on ${availableParallelism()} processors with a load of
${loadavg()[0]?.toFixed(1)}. The store was on ${outcome.disk.description}; \`storage.maxSize\` was ${mebibytes(maxCacheBytes)}. Real clients:
${outcome.figures.realClients.join(', ') || 'none'}.${replicasIn(outcome)}

**${ledger.total('pulls')} pulls, ${ledger.total('faults')} faults, ${ledger.violations.length} violations.**${violationsOf(ledger)}

${table(['faults', ''], ledger.lines('faults'))}

Faults of upstreams are counted per request and damage per file. A kill, a freeze, a full disk and a lack of descriptors count once each.

${table(['pulls by', ''], ledger.lines('pulls'))}

${table(['responses to the test clients', ''], ledger.lines('answers'))}

${table(['images pulled by the test clients', ''], ledger.lines('outcomes'))}

${table(['responses to clients of the healthy registry', ''], ledger.lines('healthy'))}

${table(['responses from the hostile registries', ''], ledger.lines('answers of hostile registries'))}

${table(['real clients', ''], ledger.lines('real clients'))}

${figuresOf(outcome.figures)}`;
}

function figuresOf({ fresh, settled, samples, healedAfterSeconds, brokenTransfer }: Figures): string {
  const row = (
    name: string,
    read: (state: ProcessState) => number,
    unit: (value: number) => string = String,
  ): string => {
    const sorted = samples.map(read).toSorted((a, b) => a - b);
    const values = [read(fresh), sorted[sorted.length >> 1], sorted.at(-1), read(settled)];
    return `| ${name} | ${values.map((value) => unit(value ?? Number.NaN)).join(' | ')} |`;
  };
  const healed =
    healedAfterSeconds === undefined
      ? 'Some images could not be pulled'
      : `Every image could be pulled ${Math.round(healedAfterSeconds)} s`;
  return `| the process of the second part, which is not killed | at start | median | max | at the end, idle |
| --- | ---: | ---: | ---: | ---: |
${row('memory (VmRSS)', ({ rssBytes }) => rssBytes, mebibytes)}
${row('heap in use', ({ heapBytes }) => heapBytes, mebibytes)}
${row('descriptors', ({ descriptors }) => descriptors)}
${row('sockets', ({ sockets }) => sockets)}
${row('timers', ({ timers }) => timers)}

${healed} after the last fault. The longest delay is a circuit breaker that has opened repeatedly.

Before the faults began, one blob of ${brokenTransfer.mebibytes} MiB was pulled from an upstream that cut it ${brokenTransfer.cuts} times at random positions. The pull took
${brokenTransfer.seconds.toFixed(1)} s; ${brokenTransfer.repeatedBytes} bytes were downloaded more than once.
`;
}

function replicasIn({ options, hasBucket }: RunOutcome): string {
  if (options.replicas === 1) return '';
  return `\n${options.replicas} replicas with a store each, on one Redis with three Sentinels${hasBucket ? ' and one bucket (versitygw)' : ''}.`;
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

function violationsOf({ violations }: Ledger): string {
  return violations.map(({ what, atSeconds }) => `\n\n- after ${atSeconds} s: ${what}`).join('');
}

function table([what, count]: readonly [string, string], lines: readonly (readonly [string, number])[]): string {
  const rows = lines.map(([name, number]) => `| ${name} | ${number} |`);
  return [`| ${what} | ${count} |`, '| --- | ---: |', ...rows].join('\n');
}
