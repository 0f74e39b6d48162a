import { type Command, Option } from 'commander';
import type { NodeConfigurationChoice } from '../commands/node-configuration.ts';
import { endOnSignals, run, stopSignals } from './exit.ts';
import { configOption, durationOption, secondsOption } from './options.ts';

/** The commands of nodes, and of hooks of the chart. */
export function addKubernetesCommands(program: Command): void {
  for (const add of [addNodeConfiguration, addAwaitRemoval, addAwaitReload]) add(program);
}

function addNodeConfiguration(program: Command): void {
  program
    .command('node-configuration')
    .description(
      "let this node's container runtime ask the mirror first; exit code 1 if a file of somebody else is in the way",
    )
    .requiredOption('-s, --settings <file>', 'what to write, as JSON; see docs/nodes.md')
    .option('--root <folder>', 'where the file system of the node is', '/')
    .option('--ready-file <file>', 'a file that exists while everything is in place')
    .addOption(new Option('--watch', 'stay, and repair what is changed').conflicts('remove'))
    .option('--remove', 'remove the files, and put back what they replaced')
    .option('--stay', 'after --remove: wait for a signal to stop')
    .action((chosen: NodeConfigurationChoice) =>
      run(async () => {
        const { nodeConfiguration } = await import('../commands/node-configuration.ts');
        return nodeConfiguration({ ...chosen, nodeIP: process.env['NODE_IP'], stop: stopSignals().stop });
      }),
    );
}

function addAwaitRemoval(program: Command): void {
  program
    .command('await-removal')
    .description('wait until a DaemonSet has removed the files of node-configuration from every node')
    .argument('<namespace/name>', 'the DaemonSet')
    .addOption(new Option('--within <seconds>', 'how long').default(60).argParser(secondsOption))
    .action((daemonSet: string, { within }: { within: number }) =>
      run(async () => {
        endOnSignals();
        const { awaitRemovalFrom } = await import('../commands/await-removal.ts');
        const print = (text: string) => process.stdout.write(text);
        return awaitRemovalFrom({ daemonSet, within, env: process.env, print });
      }),
    );
}

function addAwaitReload(program: Command): void {
  program
    .command('await-reload')
    .description(
      'wait until running mirrors use the configuration; exit code 1 if one refuses it, or does not use it in time',
    )
    .addOption(configOption())
    .requiredOption('-a, --address <host:port>', 'of their management listeners; the host may be the name of several')
    .addOption(
      new Option('-w, --within <duration>', 'how long to wait').default(300_000, '5m').argParser(durationOption),
    )
    .action(({ config, address, within }: { config: string; address: string; within: number }) =>
      run(async () => {
        endOnSignals();
        const { awaitReload } = await import('../commands/await-reload.ts');
        return awaitReload({ file: config, address, withinMs: within, print: (text) => process.stdout.write(text) });
      }),
    );
}
