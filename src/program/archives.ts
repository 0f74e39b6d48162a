import type { Command } from 'commander';
import { run } from './exit.ts';
import { addPlatforms, terminal, untilForced } from './jobs.ts';
import { askingCommand, askingWith, type MirrorOptions } from './options.ts';

/** The commands that carry images from one mirror to another. */
export function addArchiveCommands(program: Command): void {
  for (const add of [addExport, addImport]) add(program);
}

/** Its own options, as commander parses them. */
interface ExportOptions extends MirrorOptions {
  readonly platform: readonly string[];
  readonly referrers: boolean;
  readonly output?: string;
}

function addExport(program: Command): void {
  askingCommand(program, 'export', 'write images of the running mirror as an OCI image layout in a tar')
    .argument('<image...>', 'as docker pull takes them, such as nginx:1.27 or ghcr.io/acme/app@sha256:…')
    .option('-o, --output <file>', 'instead of the standard output; it appears when it is whole')
    .option(
      '--platform <platforms>',
      'such as linux/amd64,linux/arm64, or all; by default what is cached',
      addPlatforms,
      [],
    )
    .option('--no-referrers', 'without cached signatures, SBOMs and the like')
    .action((images: readonly string[], options: ExportOptions) =>
      run(async () => {
        const { exportImages } = await import('../commands/archives/export.ts');
        const { platform: platforms, referrers, output, ...mirror } = options;
        const stdout = process.stdout.isTTY ? undefined : () => process.stdout;
        const wanted = { images, platforms, referrers, output, stdout };
        return untilForced((stop) => exportImages({ ...askingWith(mirror), ...wanted, ...terminal(), stop }));
      }),
    );
}

/** Likewise. */
interface ImportOptions extends MirrorOptions {
  readonly name: readonly string[];
  readonly public: boolean;
}

function addImport(program: Command): void {
  askingCommand(program, 'import [file]', 'let the running mirror take the images of an OCI image layout in a tar')
    .option('--name <old=new>', 'import under another name', (text, before: readonly string[]) => [...before, text], [])
    .option('--public', 'clients may read it where the upstream has not said whether it is public', false)
    .action((archive: string | undefined, options: ImportOptions) =>
      run(async () => {
        const { importImages } = await import('../commands/archives/import.ts');
        const { name: names, public: isPublic, ...mirror } = options;
        const stdin = process.stdin.isTTY ? undefined : () => process.stdin;
        const wanted = { archive, names, isPublic, stdin };
        return untilForced((stop) => importImages({ ...askingWith(mirror), ...wanted, ...terminal(), stop }));
      }),
    );
}
