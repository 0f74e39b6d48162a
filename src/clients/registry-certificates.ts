import { basename, dirname, join } from 'node:path';

/** The certificates by which clients reach a registry itself: paths of files, relative to the folder of its `hosts.toml`. */
export interface RegistryCertificates {
  readonly cas: readonly string[];
  /** Each certificate of a client, and the file with its key. */
  readonly clientPairs: readonly (readonly [certificate: string, key: string])[];
}

/** By the path of a `hosts.toml`. */
export type CertificatesByFile = ReadonlyMap<string, RegistryCertificates>;

/**
 * The certificates that containerd would use if there were no `hosts.toml`: those of the first folder with any, since it looks at one folder
 * only (`HostDirFromRoot` and `loadCertFiles` of containerd).
 * @param paths of files; those that are no `hosts.toml` have none.
 * @param namesIn the names of the files in a folder; none if there is no such folder.
 */
export async function certificatesBeside(
  paths: readonly string[],
  namesIn: (folder: string) => Promise<readonly string[]>,
): Promise<CertificatesByFile> {
  const found = new Map<string, RegistryCertificates>();
  for (const path of paths.filter((one) => basename(one) === 'hosts.toml')) {
    const certificates = await firstCertificates(dirname(path), namesIn);
    if (certificates) found.set(path, certificates);
  }
  return found;
}

async function firstCertificates(
  hostsFolder: string,
  namesIn: (folder: string) => Promise<readonly string[]>,
): Promise<RegistryCertificates | undefined> {
  for (const folder of foldersFor(hostsFolder)) {
    const certificates = certificatesAmong(await namesIn(join(hostsFolder, folder)), folder);
    if (certificates.cas.length + certificates.clientPairs.length > 0) return certificates;
  }
  return undefined;
}

/** Relative to the folder of a registry: itself, the one with the registry's port after a colon, and that for every registry. */
function foldersFor(folder: string): readonly string[] {
  const withColon = basename(folder).replace(/_(\d+)_$/, ':$1');
  return [...new Set(['.', join('..', withColon), join('..', '_default')])];
}

/** Docker's convention: `*.crt` are CAs, `*.cert` are those of a client, with the key in `*.key`, or else in the same file. */
function certificatesAmong(names: readonly string[], folder: string): RegistryCertificates {
  const named = (ending: string) => names.filter((name) => name.endsWith(ending)).toSorted();
  const pairs = named('.cert').map((name) => {
    const key = name.replace(/cert$/, 'key');
    return [join(folder, name), join(folder, names.includes(key) ? key : name)] as const;
  });
  return { cas: named('.crt').map((name) => join(folder, name)), clientPairs: pairs };
}
