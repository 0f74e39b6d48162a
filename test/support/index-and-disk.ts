import { DatabaseSync } from 'node:sqlite';
import { bytesOnDisk, parseTagRecord, type RecordKey, recordName } from '../../src/mirror/ports/record-store.ts';
import { filesBelow, type FileSystem, nodeFiles, readUpTo } from '../../src/storage/filesystem/file-system.ts';
import { blobsFolder, digestAt, recordKeyAt, repositoriesFolder } from '../../src/storage/layout.ts';

/** What an index has: sizes by digest, links, and digests by tag. */
interface Known {
  readonly contents: Map<string, number>;
  readonly links: Set<string>;
  readonly tags: Map<string, string>;
}

/**
 * Compares the index of a mirror that was stopped with its store, without the program.
 * @returns what only one of them has, or both have in another way; empty if they are equal.
 */
export async function differences(
  path: string,
  { files = nodeFiles, index = `${path}/index.sqlite` }: { readonly files?: FileSystem; readonly index?: string } = {},
): Promise<readonly string[]> {
  const database = new DatabaseSync(index);
  try {
    const [disk, known] = [await onDisk(files, path), inIndex(database)];
    return [
      ...compared('content', disk.contents, known.contents),
      ...compared('link', asMap(disk.links), asMap(known.links)),
      ...compared('tag', disk.tags, known.tags),
      ...wrongSums(database, disk),
    ];
  } finally {
    database.close();
  }
}

async function onDisk(files: FileSystem, path: string): Promise<Known> {
  const known: Known = { contents: new Map(), links: new Set(), tags: new Map() };
  for await (const file of filesBelow(files, path, blobsFolder)) {
    const digest = digestAt(file);
    if (digest) known.contents.set(digest, (await files.stat(`${path}/${file}`)).size);
  }
  for await (const file of filesBelow(files, path, repositoriesFolder)) {
    const key = recordKeyAt(file);
    if (key?.kind === 'blob' || key?.kind === 'manifest') known.links.add(recordName(key));
    if (key?.kind === 'tag') known.tags.set(recordName(key), await digestOfTag(files, `${path}/${file}`, key));
  }
  return known;
}

async function digestOfTag(files: FileSystem, path: string, key: RecordKey & { kind: 'tag' }): Promise<string> {
  const file = await files.open(path, 'read');
  try {
    const bytes = await readUpTo((await file.status()).size, file);
    return String(parseTagRecord(JSON.parse(bytes.toString()), key.tag)?.digest);
  } finally {
    await file.close();
  }
}

function inIndex(database: DatabaseSync): Known {
  const known: Known = { contents: new Map(), links: new Set(), tags: new Map() };
  for (const row of database.prepare('SELECT digest, size FROM content').iterate())
    known.contents.set(String(row['digest']), Number(row['size']));
  for (const row of database.prepare("SELECT kind || ' ' || repository || ' ' || digest AS name FROM links").iterate())
    known.links.add(String(row['name']));
  for (const row of database.prepare("SELECT 'tag ' || repository || ' ' || tag AS name, digest FROM tags").iterate())
    known.tags.set(String(row['name']), String(row['digest']));
  return known;
}

/** What the index counts as it goes, counted again. */
function wrongSums(database: DatabaseSync, disk: Known): readonly string[] {
  const row = database.prepare('SELECT disk_bytes, manifests + blobs AS contents, records FROM totals').get();
  const diskBytes = [...disk.contents.values()].reduce((sum, size) => sum + bytesOnDisk(size), 0);
  const counted = { disk_bytes: diskBytes, contents: disk.contents.size, records: disk.links.size + disk.tags.size };
  const named = database
    .prepare(
      `SELECT count(*) AS wrong FROM content
        WHERE named_by <> (SELECT count(*) FROM names WHERE child = unhex(substr(content.digest, 8)))`,
    )
    .get();
  const isOff = Object.entries(counted).flatMap(([name, value]) =>
    row?.[name] === value ? [] : [`total ${name}: ${String(row?.[name])} in the index, ${value} on the disk`],
  );
  return Number(named?.['wrong']) === 0 ? isOff : [...isOff, `${String(named?.['wrong'])} with a wrong named_by`];
}

function asMap(names: ReadonlySet<string>): Map<string, boolean> {
  return new Map([...names].map((name) => [name, true]));
}

function compared<Value>(what: string, disk: Map<string, Value>, index: Map<string, Value>): readonly string[] {
  const onlyInIndex = [...index.keys()].filter((name) => !disk.has(name));
  const others = [...disk].filter(([name, value]) => index.get(name) !== value);
  return [
    ...onlyInIndex.map((name) => `${what} only in the index: ${name}`),
    ...others.map(
      ([name, value]) => `${what} ${name}: ${String(value)} on the disk, ${String(index.get(name))} in the index`,
    ),
  ];
}
