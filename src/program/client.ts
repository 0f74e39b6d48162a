import { Argument, type Command, Option } from 'commander';
import {
  clientKinds,
  type ClientName,
  type DrivenClient,
  drivenClients,
  type InstalledClient,
} from '../clients/kinds.ts';
import { endOnSignals, run } from './exit.ts';
import { askingCommand, askingWith, durationOption, type MirrorOptions } from './options.ts';

interface ClientOptions extends MirrorOptions {
  readonly url?: string;
  readonly registry?: readonly string[];
}

interface InstalledOptions extends ClientOptions {
  readonly folder?: string;
  readonly root: string;
  readonly write?: boolean;
  readonly undo?: boolean;
  readonly replace: boolean;
  readonly force: boolean;
}

/** A command for each client: what it needs to know to ask the mirror. */
export function addClientCommands(program: Command): void {
  const client = program
    .command('client')
    .description('how a client is told to ask the mirror: print it, install it, test it');
  for (const name of Object.keys(clientKinds).filter(isClientName)) {
    const command = addClient(client, name);
    if (isInstalled(name)) addInstallation(command, name);
    else command.action((options: ClientOptions) => run(() => printOf(name, options)));
  }
  addTest(client);
}

function addClient(client: Command, name: ClientName): Command {
  return askingCommand(client, name, clientKinds[name].summary)
    .option('-u, --url <url>', 'where clients reach the mirror; by default its listener on this machine')
    .option('-r, --registry <name...>', 'a registry besides the upstreams; with --url, no configuration is needed');
}

function addInstallation(command: Command, name: InstalledClient): void {
  command
    .option('--folder <folder>', `where its files are, instead of ${clientKinds[name].folder}`)
    .option('-w, --write', 'write the files, and keep what they replace')
    .option('--replace', 'with --write: also replace files that the lines do not fit into', false)
    .addOption(new Option('--undo', 'take back what was written').conflicts('write'))
    .option('--force', 'with --undo: also if it was changed since; the change is kept beside it', false)
    .option('--root <folder>', 'where the file system is, for images', '/')
    .action((options: InstalledOptions) =>
      run(async () => {
        if (options.write !== true && options.undo !== true) return printOf(name, options);
        endOnSignals();
        const { installClient, uninstallClient } = await import('../commands/client/client.ts');
        const asked = { ...askingWith(options), client: name };
        return options.undo === true ? uninstallClient(asked) : installClient(asked);
      }),
    );
}

interface TestOptions extends ClientOptions {
  readonly image?: string;
  readonly folder?: string;
  readonly root: string;
  readonly within: number;
}

function addTest(client: Command): void {
  askingCommand(
    client,
    'test',
    'pull an image through clients of this machine, and see whether the mirror is asked for it',
  )
    .addArgument(new Argument('[client...]', 'which; by default all that are installed').choices(drivenClients))
    .option('-i, --image <image>', 'what is pulled; by default the smallest image that is cached')
    .option('-u, --url <url>', 'where clients reach the mirror; by default its listener on this machine')
    .option('--folder <folder>', 'where the files of the client are')
    .option('--root <folder>', 'where the file system of the client is', '/')
    .addOption(
      new Option('--within <duration>', 'how long a pull may take').default(300_000, '5m').argParser(durationOption),
    )
    .action((clients: readonly DrivenClient[], { within: withinMs, ...options }: TestOptions) =>
      run(async () => {
        endOnSignals();
        const { testClients } = await import('../commands/client/test-client.ts');
        return testClients({ ...askingWith(options), clients, withinMs });
      }),
    );
}

async function printOf(client: ClientName, options: ClientOptions): Promise<number> {
  endOnSignals();
  const { printClient } = await import('../commands/client/client.ts');
  return printClient({ ...askingWith(options), client });
}

function isClientName(name: string): name is ClientName {
  return Object.hasOwn(clientKinds, name);
}

function isInstalled(name: ClientName): name is InstalledClient {
  return 'folder' in clientKinds[name];
}
