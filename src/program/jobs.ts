import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseSize } from '../config/sections/units.ts';
import { run, stopSignals } from './exit.ts';
import { askingCommand, askingWith, type MirrorOptions } from './options.ts';

/** The commands that begin jobs of the running mirror, and wait for them. */
export function addJobCommands(program: Command): void {
  for (const add of [addWarm, addVerify]) add(program);
}

/** Its own options, as commander parses them. */
interface WarmOptions extends MirrorOptions {
  readonly file?: string;
  readonly kubernetes: boolean;
  readonly platform: readonly string[];
  readonly referrers: boolean;
}

function addWarm(program: Command): void {
  askingCommand(program, 'warm', 'let the running mirror fetch images before clients ask for them')
    .argument('[image...]', 'as docker pull takes them, such as nginx:1.27 or ghcr.io/acme/app@sha256:…')
    .option('-f, --file <list>', 'a file with an image a line; - is the standard input')
    .option('--kubernetes', "the images of the cluster's pods, by the service account of this pod", false)
    .option('--platform <platforms>', 'such as linux/amd64,linux/arm64, or all', addPlatforms, [])
    .option('--referrers', 'signatures, SBOMs and the like as well', false)
    .action((images: readonly string[], options: WarmOptions) =>
      run(async () => {
        const { warm } = await import('../commands/jobs/warm.ts');
        const { file: listFile, kubernetes, platform: platforms, referrers, ...mirror } = options;
        const wanted = { images, listFile, kubernetes, platforms, referrers, stdin: () => process.stdin };
        return untilForced((stop) => warm({ ...askingWith(mirror), ...wanted, ...terminal(), stop }));
      }),
    );
}

/** Likewise. */
interface VerifyOptions extends MirrorOptions {
  readonly refetch: boolean;
  readonly rate?: number;
}

function addVerify(program: Command): void {
  const text =
    'let the running mirror read what it has stored and compare it with its digests; damaged files are quarantined';
  askingCommand(program, 'verify', text)
    .argument('[name]', 'only a repository, or an image, such as docker.io/library/nginx:1.27')
    .option('--refetch', 'fetch again what is damaged or missing', false)
    .addOption(new Option('--rate <size>', 'the most to read in a second, such as 50MiB').argParser(sizeOption))
    .action((name: string | undefined, options: VerifyOptions) =>
      run(async () => {
        const { verify } = await import('../commands/jobs/verify.ts');
        const { refetch, rate: bytesPerSecond, ...mirror } = options;
        const wanted = { name, refetch, bytesPerSecond };
        return untilForced((stop) => verify({ ...askingWith(mirror), ...wanted, ...terminal(), stop }));
      }),
    );
}

function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined || bytes === 0) throw new InvalidArgumentError('expected a size such as "50MiB"');
  return bytes;
}

export function addPlatforms(text: string, before: readonly string[]): readonly string[] {
  return [...before, ...text.split(',').map((platform) => platform.trim())];
}

/** The first signal lets the work cancel its job; the second does not wait for that. */
export function untilForced(work: (stop: AbortSignal) => Promise<number>): Promise<number> {
  const { stop, force } = stopSignals();
  const forced = new Promise<number>((resolve) => {
    force.addEventListener('abort', () => resolve(128 + 2), { once: true });
  });
  return Promise.race([work(stop), forced]);
}

/** For a terminal that does not tell its width. */
const usualColumns = 80;

/** Where progress is shown. */
export function terminal(): { readonly columns: (() => number) | undefined } {
  const { stderr } = process;
  return { columns: stderr.isTTY ? () => stderr.columns || usualColumns : undefined };
}
