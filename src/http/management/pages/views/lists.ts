import { type AskedList, listAsked, type Repositories, type Tags } from '../../api/catalogue-routes.ts';
import type { Field, Option } from '../drawing/forms.ts';
import { type Column, pill, table } from '../drawing/parts.ts';
import { bytesText, countText, shortDigest, timeSince } from '../drawing/words.ts';
import { type Content, type Html, html, name } from '../html.ts';
import { inPath } from '../names.ts';
import type { PageRequest } from '../view.ts';

type RepositoryRow = Repositories['items'][number];
type TagRow = Tags['items'][number];

const pageSize = '50';
const dayMs = 86_400_000;
/** What the address says as the API does. What is empty is not meant. */
const words = ['registry', 'text', 'platform', 'sort', 'cursor'];

/** The list that a page's address asks for. @throws Problem */
export function listOf({ query, nowMs, isPublic, signal }: PageRequest): AskedList {
  // When something was pulled is not for everybody.
  if (isPublic) return listAsked({ sort: 'name', limit: pageSize, ...cursorIn(query) }, signal);
  const said = words.map((word) => [word, query.get(word) ?? ''] as const).filter(([, value]) => value !== '');
  const days = Number(query.get('unused') ?? '');
  const pulledBefore = days > 0 && days < 10_000 && { pulledBefore: new Date(nowMs - days * dayMs).toISOString() };
  return listAsked({ sort: 'lastPull', ...Object.fromEntries(said), ...pulledBefore, limit: pageSize }, signal);
}

function cursorIn(query: URLSearchParams): { readonly cursor?: string } {
  const cursor = query.get('cursor');
  return cursor === null ? {} : { cursor };
}

const sorts: readonly Option[] = [
  { value: '', title: 'Last pull' },
  { value: 'name', title: 'Name' },
  { value: 'size', title: 'Size' },
];
const ages: readonly Option[] = [
  { value: '', title: 'Any time' },
  ...[1, 7, 30, 90].map((days) => ({ value: String(days), title: days === 1 ? 'A day' : `${days} days` })),
];
const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/ppc64le', 'linux/s390x', 'windows/amd64'];

/** The fields that filter and sort a list. */
export function fieldsOf({ query }: PageRequest, registries: readonly string[] | undefined): readonly Field[] {
  const value = (word: string) => query.get(word) ?? '';
  const choice = (word: string, label: string, options: readonly Option[]): Field => ({
    name: word,
    label,
    value: value(word),
    options: options.some((option) => option.value === value(word))
      ? options
      : [...options, { value: value(word), title: value(word) }],
  });
  const named = (all: string, names: readonly string[]) => [
    { value: '', title: all },
    ...names.map((one) => ({ value: one, title: one })),
  ];
  return [
    { name: 'text', label: 'Name contains', value: value('text') },
    ...(registries === undefined ? [] : [choice('registry', 'Registry', named('All registries', registries))]),
    choice('platform', 'Platform', named('All platforms', platforms)),
    choice('unused', 'Not pulled for', ages),
    choice('sort', 'Sort by', sorts),
  ];
}

const nothingFits = 'Nothing fits. What clients pull appears here.';

export function repositoryTable(rows: readonly RepositoryRow[], nowMs: number): Html {
  return table<RepositoryRow>({
    caption: 'Repositories',
    rows,
    empty: nothingFits,
    columns: [
      { title: 'Repository', kind: 'name', cell: (row) => link(row.name, row.registry, row.repository) },
      { title: 'Tags', kind: 'number', cell: ({ tags }) => countText(tags) },
      { title: 'Size', kind: 'number', cell: ({ bytes }) => bytesText(bytes) },
      { title: 'Last pull', kind: 'wide number', cell: ({ lastPullAt }) => since(lastPullAt, nowMs) },
    ],
  });
}

/** Of one repository, the tags alone say which. */
export function tagTable(
  rows: readonly TagRow[],
  { nowMs, base, isPublic, isOfOne }: PageRequest & { readonly isOfOne: boolean },
): Html {
  const used: readonly Column<TagRow>[] = [
    { title: 'Last pull', kind: 'number', cell: ({ lastPullAt }) => since(lastPullAt, nowMs) },
    { title: 'State', kind: 'wide', cell: stateOf },
  ];
  return table<TagRow>({
    caption: 'Tags',
    rows,
    empty: nothingFits,
    columns: [
      {
        title: isOfOne ? 'Tag' : 'Image',
        kind: 'name',
        cell: ({ name: repository, registry, repository: rest, tag }) =>
          isOfOne
            ? html`<a href="${base}/${inPath(`${repository}:${tag}`)}">${name(tag)}</a>`
            : link(`${repository}:${tag}`, registry, `${rest}:${tag}`),
      },
      { title: 'Platforms', kind: 'wide', cell: ({ platforms: stored }) => stored.join(', ') },
      { title: 'Size', kind: 'number', cell: ({ bytes }) => (bytes === undefined ? '–' : bytesText(bytes)) },
      ...(isPublic ? [] : used),
      { title: 'Digest', kind: 'wide', cell: ({ digest }) => shortDigest(digest) },
    ],
  });
}

function stateOf({ isStored, isFresh }: TagRow): Content {
  if (!isStored) return pill('not stored', 'fair');
  if (isFresh === undefined) return undefined;
  return isFresh ? pill('fresh', 'good') : pill('to be confirmed', 'calm');
}

function link(path: string, registry: string, rest: string): Html {
  return html`<span class="registry">${name(registry)}</span> <a href="/browse/${inPath(path)}">${name(rest)}</a>`;
}

function since(at: string | undefined, nowMs: number): Content {
  return at === undefined ? '–' : timeSince(at, nowMs);
}
