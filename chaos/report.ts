import { writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg } from 'node:os';
import type { BrokenTransfer } from './broken-transfer.ts';
import type { Ledger } from './ledger.ts';
import { maxCacheBytes } from './mirror-config.ts';
import type { ChaosOptions } from './options.ts';
import type { ProcessState } from './process-state.ts';
import type { Disk } from './troubles/disk.ts';

/** What was measured besides what was counted. */
export interface Figures {
  readonly realClients: readonly string[];
  /** When the process of the second part had just begun, and when it had settled. */
  readonly fresh: ProcessState;
  readonly settled: ProcessState;
  /** Of that process, a second apart. */
  readonly samples: readonly ProcessState[];
  readonly healedAfterSeconds: number | undefined;
  readonly brokenTransfer: BrokenTransfer;
}

export interface RunOutcome {
  readonly options: ChaosOptions;
  readonly ledger: Ledger;
  readonly figures: Figures;
  readonly disk: Disk;
}

/** Writes what a run showed, and prints it in short. */
export async function writeReport(outcome: RunOutcome): Promise<void> {
  const { options, ledger } = outcome;
  const { pulls, faults } = { pulls: ledger.total('pulls'), faults: ledger.total('faults') };
  process.stdout.write(`${pulls} pulls, ${faults} faults, ${ledger.violations.length} violations\n`);
  if (options.reportFile !== undefined) await writeFile(options.reportFile, pageOf(outcome));
}

/** What the run is about, and what it holds the mirror to. */
const introduction = `# Chaos

Clients pull through a mirror while its upstreams die, stall and lie, its disk fills and empties, its files are damaged, it runs out
of descriptors, and it is killed and started again. Beside them are registries and clients that mean harm, and a second mirror whose store
has no room. \`npm run chaos\` takes about six minutes and writes this page; it ends with an error when a promise was broken.

\`\`\`sh
npm run chaos                    # another seed at every run; it is printed
npm run chaos -- --seed 7        # the same images, clients, faults and damages
npm run chaos -- --minutes 30
\`\`\`

The seed decides what there is to pull, what every client asks for, what each upstream does wrong and what is damaged. When
exactly each of these meets another is up to the machine.

## Who means harm

- A registry that never answers, and one that sends a byte a second: 40 clients ask each of them at any time.
- A registry that is asked for the blobs of another one, and holds them, sends wrong or too few bytes, or promises more than it has.
- A registry with manifests of 4 MB and 38,000 layers, with lists of 1,400,000 tags, and with a list that has no end.
- Clients that reset their connection at a random moment of any request, send 4,100 requests at once and read no answer, ask for records
  and listings of names that nobody has, or open TLS connections and say nothing.

## What is held to

- Every complete answer has the right bytes; a part is the part it says it is, or the whole.
- A blob of 256 MiB that its upstream cuts twenty times arrives by one pull, and at most one byte in a hundred comes twice.
- Every other answer is an error of the spec under a true status (403, 404 for what is not there, 429 with Retry-After, 502, 503,
  504), or a connection that is cut. Headers come within 25 s.
- What was cached before the first fault (\`pinned\`, and the \`real\` images of the real clients, kept by \`storage.keep\`) is always
  served, but while the process is gone or can open nothing. What was damaged on the disk (\`doomed\`) may fail, and is never served
  wrong: with \`storage.verifyReads\`, which is on here and off by default, a damaged file is cut while it is read; without it the
  scrubber finds it.
- One registry does nothing wrong. Its clients get every answer within 5 s, cold or not, and never an error, but while the process is gone
  or can open nothing; those of the second mirror, whose store takes nothing, likewise.
- The store takes no more of the disk than \`storage.maxSize\` and 8 MiB, whatever is asked for.
- At the end, without faults: everything can be pulled; the mirror holds no more descriptors, sockets and timers than when it had
  just begun; its memory did not go on growing; incoming/ holds nothing but interrupted downloads with their marks; every stored blob
  that was not damaged is what its name says; the log reports no bug and
  no unhandled rejection; SIGTERM ends it with 0.`;

function pageOf(outcome: RunOutcome): string {
  const { options, ledger } = outcome;
  return `${introduction}

## The last run

Seed \`${options.seed}\`, ${new Date().toISOString().slice(0, 10)}: ${options.minutes} minutes of troubles, ${Math.round(ledger.seconds)} s in all, on ${availableParallelism()} processors with a load of
${loadavg()[0]?.toFixed(1)}. The data lay on ${outcome.disk.description}; \`storage.maxSize\` was ${mebibytes(maxCacheBytes)}. Real clients:
${outcome.figures.realClients.join(', ') || 'none'}.

**${ledger.total('pulls')} pulls, ${ledger.total('faults')} faults, ${ledger.violations.length} violations.**${violationsOf(ledger)}

${table(['faults', ''], ledger.lines('faults'))}

An upstream's faults are counted by the request, and so are damages by the file; a killed, frozen, filled or starved thing once.

${table(['pulls by', ''], ledger.lines('pulls'))}

${table(['answers to our own clients', ''], ledger.lines('answers'))}

${table(['images they pulled', ''], ledger.lines('outcomes'))}

${table(['answers to clients of the healthy registry', ''], ledger.lines('healthy'))}

${table(['answers of the hostile registries', ''], ledger.lines('answers of hostile registries'))}

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
      ? 'Not everything could be pulled'
      : `Everything could be pulled ${Math.round(healedAfterSeconds)} s`;
  return `| the process of the second part, which is not killed | just begun | median | most | settled |
| --- | ---: | ---: | ---: | ---: |
${row('memory (VmRSS)', ({ rssBytes }) => rssBytes, mebibytes)}
${row('heap in use', ({ heapBytes }) => heapBytes, mebibytes)}
${row('descriptors', ({ descriptors }) => descriptors)}
${row('sockets', ({ sockets }) => sockets)}
${row('timers', ({ timers }) => timers)}

${healed} after the last fault; what takes longest is a circuit that opened again and again.

Before all that, one blob of ${brokenTransfer.mebibytes} MiB was pulled from an upstream that cut it ${brokenTransfer.cuts} times at random positions: right after
${brokenTransfer.seconds.toFixed(1)} s, with ${brokenTransfer.repeatedBytes} bytes that came more than once.
`;
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
