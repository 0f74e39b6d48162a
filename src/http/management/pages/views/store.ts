import type { Jobs } from '../../api/jobs-routes.ts';
import type { Stats } from '../../api/schemas.ts';
import type { Downloads, Evictions } from '../../api/store/storage-routes.ts';
import { type Mood, pill, table } from '../drawing/parts.ts';
import { bar } from '../drawing/plots.ts';
import { bytesText, counted, countText, percentText, shortDigest, timeSince } from '../drawing/words.ts';
import { type Content, type Html, html, name } from '../html.ts';
import { inPath } from '../names.ts';

type JobRow = Jobs['items'][number];
type Download = Downloads['items'][number];
type Eviction = Evictions['items'][number];

/** More are counted, but not listed. */
const mostListed = 20;

/** What arrives now. */
export function downloadsOf({ items }: Downloads): Html {
  const rest = items.length - mostListed;
  return html`${table<Download>({
    caption: 'Running downloads',
    rows: items.slice(0, mostListed),
    empty: 'Nothing is being downloaded.',
    columns: [
      {
        title: 'Repository',
        kind: 'name',
        cell: (row) => html`<a href="/browse/${inPath(row.name)}">${name(row.name)}</a>`,
      },
      { title: 'Blob', kind: 'wide', cell: ({ digest }) => shortDigest(digest) },
      { title: 'Progress', cell: progressOf },
    ],
  })}${rest > 0 && html`<p class="note">And ${counted(rest, 'more download')}.</p>`}`;
}

function progressOf({ receivedBytes, totalBytes }: Download): Html {
  if (totalBytes === null) return html`<div class="progress"><span>${bytesText(receivedBytes)}</span></div>`;
  const ratio = totalBytes === 0 ? 1 : Math.min(1, receivedBytes / totalBytes);
  const words = `${bytesText(receivedBytes)} of ${bytesText(totalBytes)}`;
  return html`<div class="progress"><span>${words}</span> <span class="note">${percentText(ratio)}</span>${bar(`${words} received`, [{ look: 'first', ratio }])}</div>`;
}

/** How full the store is. */
export function diskOf(storage: Stats['storage'], nowMs: number): Html {
  const { usedBytes, maxBytes, contentBytes, blobs, manifests, freeBytes, quarantinedFiles, oldestUseAt } = storage;
  const ratio = usedBytes === null ? 0 : usedBytes / maxBytes;
  const words = `${bytesText(usedBytes)} of ${bytesText(maxBytes)}`;
  const facts: readonly (readonly [string, Content])[] = [
    ['Content', bytesText(contentBytes)],
    ['Images', `${countText(manifests)} manifests, ${countText(blobs)} blobs`],
    ['Free on the disk', bytesText(freeBytes)],
    ['Longest unused', oldestUseAt === null ? '–' : timeSince(oldestUseAt, nowMs)],
    ['In quarantine', counted(quarantinedFiles, 'file')],
  ];
  return html`<div class="card disk">
<p class="usage"><span class="number">${words}</span>${usedBytes !== null && html` <span class="note">${percentText(ratio)} used</span>`}</p>
${bar(`${words} used`, [{ look: ratio > 0.95 ? 'fair' : 'first', ratio }])}
<dl class="facts">${facts.map(([title, value]) => html`<div><dt>${title}</dt><dd>${value}</dd></div>`)}</dl>
${!storage.isIndexComplete && html`<p class="note">The index is being rebuilt: some content is not listed yet.</p>`}
</div>`;
}

/** What leaves when space is needed. */
export function evictionsOf({ isKnown, items }: Evictions, nowMs: number): Html {
  return table<Eviction>({
    caption: 'Evicted next, when space is needed',
    rows: items,
    empty: isKnown ? 'Nothing can be evicted.' : 'What is evicted next is known when the index has been rebuilt.',
    columns: [
      { title: 'Image', kind: 'name', cell: namesOf },
      { title: 'Content', kind: 'wide', cell: ({ kind, digest }) => html`${kind} ${shortDigest(digest)}` },
      { title: 'Size', kind: 'wide number', cell: ({ bytes }) => bytesText(bytes) },
      { title: 'Last used', kind: 'number', cell: ({ usedAt }) => timeSince(usedAt, nowMs) },
    ],
  });
}

function namesOf({ tags, repositories, digest }: Eviction): Content {
  const [first, ...others] = tags.length > 0 ? tags : repositories;
  if (first === undefined) return shortDigest(digest);
  return html`<a href="/browse/${inPath(first)}">${name(first)}</a>${others.length > 0 && html` <span class="note">and ${others.length} more</span>`}`;
}

const jobsShown = 5;
const moods: Readonly<Record<JobRow['state'], Mood>> = {
  running: 'calm',
  done: 'good',
  failed: 'bad',
  cancelled: 'fair',
};

/** The last long actions of operators. Nothing where there was none. */
export function jobsOf({ items }: Jobs, nowMs: number): Html {
  if (items.length === 0) return html``;
  return table<JobRow>({
    caption: 'Jobs',
    rows: items.slice(0, jobsShown),
    empty: '',
    columns: [
      {
        title: 'Job',
        kind: 'name',
        cell: ({ kind, startedAt }) => html`${kind} <span class="note">${timeSince(startedAt, nowMs)}</span>`,
      },
      { title: 'State', cell: ({ state }) => pill(state, moods[state]) },
      {
        title: 'Done',
        kind: 'number',
        cell: ({ done, total }) => `${countText(done)}${total === null ? '' : ` of ${countText(total)}`}`,
      },
      { title: 'Fetched', kind: 'wide number', cell: ({ bytes }) => bytesText(bytes) },
      { title: 'Problems', kind: 'wide number', cell: ({ problems }) => countText(problems) },
    ],
  });
}
