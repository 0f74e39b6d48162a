import type { Command } from 'commander';
import { endOnSignals, run } from './exit.ts';
import { askingCommand, askingWith, type MirrorOptions } from './options.ts';

/** The commands that ask the running mirror by its API. */
export function addAskingCommands(program: Command): void {
  for (const add of [addStats, addPurge]) add(program);
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
}

function addPurge(program: Command): void {
  askingCommand(program, 'purge', 'remove an image from the cache of the running mirror')
    .argument('<image>', 'its full name with a tag or digest, such as docker.io/library/nginx:1.27')
    .option('--all-tags', 'the image is a repository: purge all of it', false)
    .option('--dry-run', 'say what would be removed', false)
    .action((image: string, options: PurgeOptions) =>
      run(async () => {
        endOnSignals();
        const { purge } = await import('../commands/purge.ts');
        const { allTags, dryRun } = options;
        return purge({ ...askingWith(options), image, allTags, dryRun });
      }),
    );
}
