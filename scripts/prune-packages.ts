/**
 * `node scripts/prune-packages.ts FOLDER` deletes from a folder of packages (node_modules) what no process loads: types, source maps,
 * documentation, tests, settings of tools, native code for another runtime (Bare), and the copy for bundlers of a package that has one for
 * Node. A package without a file of its licence keeps its README, where the licence is then.
 */
import { type Dirent, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const licence = /^(licen[cs]e|notice|copying)/i;
const readme = /^readme/i;
const unusedFile = /^\.|\.(map|[cm]?ts|tsbuildinfo|flow|md|markdown|html|yml|bare)$/i;
const unusedFolder = /^(\..*|tests?|__tests__|docs?|examples?|benchmarks?|dist-types)$/;
/** What AWS compiles for bundlers. Node loads the folder beside it. */
const forBundlers = 'dist-es';
const forNode = 'dist-cjs';

/** Deletes what is unused below a folder. */
export function pruneFolder(folder: string): void {
  const entries = readdirSync(folder, { withFileTypes: true });
  const names = new Set(entries.map(({ name }) => name));
  const hasLicence = entries.some(({ name }) => licence.test(name));
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (isUnused(entry, { names, hasLicence })) rmSync(path, { recursive: true });
    else if (entry.isDirectory()) pruneFolder(path);
  }
}

interface Beside {
  readonly names: ReadonlySet<string>;
  readonly hasLicence: boolean;
}

function isUnused(entry: Dirent, { names, hasLicence }: Beside): boolean {
  const { name } = entry;
  if (entry.isDirectory()) return unusedFolder.test(name) || (name === forBundlers && names.has(forNode));
  if (licence.test(name) || (readme.test(name) && !hasLicence)) return false;
  return unusedFile.test(name);
}

if (import.meta.main) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('usage: prune-packages.ts FOLDER');
  pruneFolder(folder);
}
