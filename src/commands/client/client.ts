import { resolve } from 'node:path';
import { type FileOutcome, Installation } from '../../clients/installation.ts';
import { withInstallationLock } from '../../clients/installation-lock.ts';
import { InstalledFiles } from '../../clients/installed-files.ts';
import {
  type ClientConfiguration,
  clientConfiguration,
  clientKinds,
  type ClientName,
  type InstalledClient,
} from '../../clients/kinds.ts';
import { certificatesBeside } from '../../clients/registry-certificates.ts';
import { folderUse } from '../../nodes/containerd-config.ts';
import { exitCodeOf, exitCodes, failure, type Output } from '../api/client.ts';
import { configTexts, whatToDo } from '../node-configuration.ts';
import { type FoundMirror, reachedMirror, type ReachedMirrorChoice } from './reached-mirror.ts';

export interface ClientOptions extends ReachedMirrorChoice, Output {
  readonly client: ClientName;
  readonly json: boolean;
}

/** Prints what a client needs to know to ask the mirror. @returns the exit code. @throws ConfigError */
export function printClient(options: ClientOptions & { readonly folder?: string | undefined }): Promise<number> {
  const { client, folder, json, print, printError } = options;
  return exitCodeOf(async () => {
    const configuration = clientConfiguration(client, usableBy(client, await reachedMirror(options)), folder);
    if (json) return print(`${JSON.stringify({ client, ...configuration }, null, 2)}\n`);
    print(textOf(configuration));
    printError(remarks([...placesOf(configuration), ...configuration.notes, `then: ${configuration.next}`]));
  }, options);
}

export interface InstallOptions extends ClientOptions {
  readonly client: InstalledClient;
  /** Where its files are, if its administrator has moved them. */
  readonly folder?: string | undefined;
  /** Where the file system is. */
  readonly root: string;
}

/**
 * Writes the files of a client and keeps what they replace.
 * @param options.replace whether files are replaced that the configuration does not fit into.
 * @returns the exit code: 1 if a file is in the way; then nothing is written.
 * @throws ConfigError
 */
export function installClient(options: InstallOptions & { readonly replace: boolean }): Promise<number> {
  const { client, root, replace: replaces } = options;
  return exitCodeOf(async () => {
    const place = placeOf(options);
    const mirror = usableBy(client, await reachedMirror(options));
    const paths = clientConfiguration(client, mirror, place.folder).files.map(({ path }) => path);
    const certificates = await certificatesBeside(paths, (inside) => new InstalledFiles(root).namesIn(inside));
    const configuration = clientConfiguration(client, mirror, place.folder, certificates);
    const outcomes = await withInstallationLock(place, () =>
      installationAt(place).write(configuration.files, { replaces }),
    );
    const notes = client === 'containerd' ? await containerdNotes({ root, folder: place.folder }) : [];
    return report(outcomes, options, { ...configuration, notes: [...configuration.notes, ...notes] });
  }, options);
}

/** Takes back what was installed. @returns the exit code: 1 if a file was changed since; then nothing is taken back. */
export function uninstallClient(options: InstallOptions & { readonly force: boolean }): Promise<number> {
  const { client, force } = options;
  return exitCodeOf(async () => {
    const place = placeOf(options);
    const outcomes = await withInstallationLock(place, () => installationAt(place).undo({ force }));
    const { next } = clientConfiguration(client, { url: 'http://127.0.0.1', registries: [], patterns: [] });
    return report(outcomes, options, { next, notes: [] });
  }, options);
}

interface Place {
  readonly root: string;
  readonly folder: string;
}

/** A folder on this machine may be relative; one in another root begins there. */
function placeOf({ client, root: given, folder }: InstallOptions): Place {
  const root = resolve(given);
  if (folder === undefined) return { root, folder: clientKinds[client].folder };
  return { root, folder: root === '/' ? resolve(folder) : resolve('/', folder) };
}

function installationAt({ root, folder }: Place): Installation {
  return new Installation({ files: new InstalledFiles(root), folder });
}

const containerdConfig = '/etc/containerd/config.toml';

/** What is to be done so that containerd reads a folder of `hosts.toml` files; nothing if it does. */
export async function containerdNotes({
  root,
  folder,
}: {
  readonly root: string;
  readonly folder: string;
}): Promise<readonly string[]> {
  const use = folderUse(await configTexts(root, containerdConfig), folder);
  if (use === 'read') return [];
  const table = (name: string) => `[plugins."${name}".registry]\n#     config_path = ${JSON.stringify(folder)}`;
  return [
    `${whatToDo[use]} (${containerdConfig})`,
    `containerd 2 (version = 3): add this and restart it:\n#     ${table('io.containerd.cri.v1.images')}`,
    `containerd 1.x (version = 2): add this and restart it:\n#     ${table('io.containerd.grpc.v1.cri')}`,
  ];
}

/** dockerd does not say which registry it means: the mirror takes its names for those of the default upstream. */
function usableBy(client: ClientName, mirror: FoundMirror): FoundMirror {
  if (client !== 'docker') return mirror;
  const { registries, defaultUpstream = 'docker.io' } = mirror;
  if (!registries.some(({ name }) => name === 'docker.io'))
    throw failure('dockerd uses mirrors for Docker Hub only, and docker.io is no upstream of this one');
  if (defaultUpstream === 'docker.io') return mirror;
  throw failure(
    `dockerd does not say which registry it asks for, and this mirror would take it for ${defaultUpstream} (defaultUpstream)`,
  );
}

/** Several files are told apart by their paths. */
function textOf({ files, text = '' }: ClientConfiguration): string {
  const [first, ...others] = files;
  if (first === undefined || others.length === 0) return first?.text ?? text;
  return files.map((file) => `# ${file.path}\n${file.text}`).join('\n');
}

function placesOf({ files }: ClientConfiguration): readonly string[] {
  return files.length === 1 ? files.map(({ path }) => `this belongs into ${path}`) : [];
}

function remarks(lines: readonly string[]): string {
  return lines.map((line) => `# ${line}\n`).join('');
}

/** @returns the exit code. */
function report(
  outcomes: readonly FileOutcome[],
  { client, json, print, printError }: InstallOptions,
  { next, notes }: Pick<ClientConfiguration, 'next' | 'notes'>,
): number {
  const isRefused = outcomes.some(({ action }) => action === 'refused');
  const isChanged = outcomes.some(({ action }) => action !== 'refused' && action !== 'kept');
  const after = isChanged ? { next } : {};
  if (json) print(`${JSON.stringify({ client, files: outcomes, ...after, notes }, null, 2)}\n`);
  else {
    for (const outcome of outcomes) (outcome.action === 'refused' ? printError : print)(lineOf(outcome));
    if (outcomes.length === 0) print('nothing is installed\n');
    if (isRefused) printError('nothing was changed\n');
    if (isChanged) print(`then: ${next}\n`);
    printError(remarks(isRefused ? [] : notes));
  }
  return isRefused ? exitCodes.failed : exitCodes.done;
}

function lineOf({ path, action, reason, copy }: FileOutcome): string {
  switch (action) {
    case 'wrote':
      return `wrote ${path}${copy === undefined ? '' : `; what it was is in ${copy}`}\n`;
    case 'kept':
      return `${path} asks the mirror already\n`;
    case 'restored':
      return `${path} is as it was${copy === undefined ? '' : `; what it was changed to is in ${copy}`}\n`;
    case 'removed':
      return `removed ${path}${copy === undefined ? '' : `; what it was changed to is in ${copy}`}\n`;
    case 'refused':
      return `${path}: ${reason}\n`;
    case 'left':
      return `left ${path} as it is: ${reason}\n`;
  }
}
