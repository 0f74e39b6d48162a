import type { Command } from 'commander';
import { endOnSignals, run } from './exit.ts';
import { askingCommand, askingWith, confirmation, type MirrorOptions } from './options.ts';

/** The commands that ask the running mirror by its API. */
export function addAskingCommands(program: Command): void {
  for (const add of [addStats, addPurge, addRefresh, addPin, addUnpin, addPins]) add(program);
}

function addStats(program: Command): void {
  askingCommand(program, 'stats', 'what the running mirror has served: hit ratio, bytes saved, upstreams, disk').action(
    (options: MirrorOptions) =>
      run(async () => {
        endOnSignals();
        const { stats } = await import('../commands/stats.ts');
        return stats(askingWith(options));
      }),
  );
}

/** Its own options, as commander parses them. */
interface PurgeOptions extends MirrorOptions {
  readonly allTags: boolean;
  readonly dryRun: boolean;
  readonly yes: boolean;
}

function addPurge(program: Command): void {
  askingCommand(program, 'purge', 'remove an image from the cache of the running mirror')
    .argument(
      '<image>',
      'its full name with a tag or digest, such as docker.io/library/nginx:1.27; or a glob, such as "docker.io/library/*" or "**:*-dev"',
    )
    .option('--all-tags', 'the image is a repository: purge all of it', false)
    .option('--dry-run', 'say what would be removed', false)
    .option('-y, --yes', 'purge what a glob names without asking', false)
    .action((image: string, options: PurgeOptions) =>
      run(async () => {
        endOnSignals();
        const { allTags, dryRun, yes } = options;
        const asking = askingWith(options);
        if (image.includes('*')) {
          const { purgeByGlob } = await import('../commands/content/purge-by-glob.ts');
          return purgeByGlob({ ...asking, glob: image, dryRun, yes, confirm: confirmation() });
        }
        const { purge } = await import('../commands/content/purge.ts');
        return purge({ ...asking, image, allTags, dryRun });
      }),
    );
}

function addRefresh(program: Command): void {
  askingCommand(program, 'refresh', 'let the running mirror ask the upstream now what a cached tag points at')
    .argument('<image>', 'its full name with a tag, such as docker.io/library/nginx:1.27')
    .action((image: string, options: MirrorOptions) =>
      run(async () => {
        endOnSignals();
        const { refresh } = await import('../commands/content/refresh.ts');
        return refresh({ ...askingWith(options), image });
      }),
    );
}

const pinArgument =
  'a repository, an image by tag or digest, or a glob, such as docker.io/library/nginx:1.27 or "docker.io/library/*"';

function addPin(program: Command): void {
  askingCommand(program, 'pin', 'never evict an image or a repository from the cache of the running mirror')
    .argument('<image>', pinArgument)
    .action((image: string, options: MirrorOptions) =>
      run(async () => {
        endOnSignals();
        const { pin } = await import('../commands/content/pins.ts');
        return pin({ ...askingWith(options), image });
      }),
    );
}

function addUnpin(program: Command): void {
  askingCommand(program, 'unpin', 'remove a pin, named as it was pinned')
    .argument('<image>', pinArgument)
    .action((image: string, options: MirrorOptions) =>
      run(async () => {
        endOnSignals();
        const { unpin } = await import('../commands/content/pins.ts');
        return unpin({ ...askingWith(options), image });
      }),
    );
}

function addPins(program: Command): void {
  askingCommand(program, 'pins', 'what the running mirror never evicts').action((options: MirrorOptions) =>
    run(async () => {
      endOnSignals();
      const { pins } = await import('../commands/content/pins.ts');
      return pins(askingWith(options));
    }),
  );
}
