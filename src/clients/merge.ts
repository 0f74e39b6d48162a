import { isDeepStrictEqual } from 'node:util';
import { applyEdits, modify } from 'jsonc-parser';
import type { ClientFile } from './kinds.ts';

/** What a file is to hold, or why it cannot hold what a client needs. */
export type Merged = { readonly text: string } | { readonly conflict: string };

/** Puts a text into the file that is there. Merging twice changes nothing more. Pure. */
export function mergedInto(found: string | undefined, { text, fits }: ClientFile): Merged {
  if (found === undefined || (found.trim() === '' && fits !== 'own'))
    return { text: fits === 'keys' ? text : headed(text) };
  switch (fits) {
    case 'own':
      return found === headed(text) ? { text: found } : { conflict: 'there is another file already' };
    case 'keys':
      return withKeys(found, text);
    case 'section':
      return withSection(found, text);
  }
}

const header = '# Written by `layerwell client`; `layerwell client … --undo` takes it back.\n';

function headed(text: string): string {
  return header + text;
}

/** The lists of `text` are put before the entries that the file has. Everything else keeps its bytes. */
function withKeys(found: string, text: string): Merged {
  const [has, wanted] = [objectIn(found), objectIn(text)];
  if (has === undefined || wanted === undefined) return { conflict: 'it is not a JSON object' };
  let merged = found;
  const expected = { ...has };
  for (const [key, entries] of Object.entries(wanted)) {
    const former = has[key] ?? [];
    if (!isList(former) || !isList(entries)) return { conflict: `its "${key}" is no list` };
    const missing = entries.filter((entry) => !former.some((one) => isSameAddress(one, entry)));
    if (missing.length === 0) continue;
    expected[key] = [...missing, ...former];
    merged = withList(merged, key, [...missing, ...former]);
  }
  // A key that stands there twice is edited in one place and read in the other.
  if (!isDeepStrictEqual(objectIn(merged), expected)) return { conflict: 'it has a key twice' };
  return { text: merged };
}

function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/** dockerd takes the address of a mirror with and without a slash at its end for the same. */
function isSameAddress(one: unknown, other: unknown): boolean {
  return typeof one === 'string' && typeof other === 'string' && one.replace(/\/$/, '') === other.replace(/\/$/, '');
}

/** Without formatting, the library leaves every other byte; a new key gets a line of its own where the others have one. */
function withList(text: string, key: string, list: readonly unknown[]): string {
  const [lineBreak = ''] = /\r?\n[ \t]+(?=")/.exec(text) ?? [];
  const edits = modify(text, [key], list, {}).map((edit) => ({
    ...edit,
    content: edit.content.replace(/^,/, `,${lineBreak}`).replace(/":(?=\[)/, '": '),
  }));
  return applyEdits(text, edits);
}

/** What says in TOML and in YAML that a file already tells its client of registries, or is not made of plain sections. */
const registrySections = [
  /^\s*\[{1,2}\s*["']?registry["']?\s*[.\]]/m,
  /^\s*["']?registry["']?\s*[.=]/m,
  /^["']?(?:mirrors|configs)["']?\s*:/m,
  /^\s*[{%]|^(?:---|\.\.\.)/m,
];

function withSection(found: string, text: string): Merged {
  if (found.endsWith(headed(text))) return { text: found };
  if (registrySections.some((section) => section.test(found)))
    return { conflict: 'it has entries for registries already' };
  return { text: `${found}${found.endsWith('\n') ? '' : '\n'}\n${headed(text)}` };
}
