import type { Stats, Upstreams } from '../../api/schemas.ts';
import { bar } from '../drawing/plots.ts';
import { figureCard, type Mood, pill, table } from '../drawing/parts.ts';
import { bytesText, counted, countText, durationText, percentText, timeSince } from '../drawing/words.ts';
import { type Content, type Html, html, name } from '../html.ts';
import type { Page } from '../page.ts';
import type { PageSources, View } from '../view.ts';

/** The parts of the overview that change while it is looked at, by their names. */
export type Regions = Readonly<Record<'since' | 'figures' | 'upstreams' | 'disk', Html>>;

export const overview: View = async ({ nowMs }, sources): Promise<Page> => {
  const regions = await overviewRegions(sources, nowMs);
  return { title: 'Overview', place: 'overview', body: bodyOf(regions) };
};

/** @throws Problem */
export async function overviewRegions({ administration }: PageSources, nowMs: number): Promise<Regions> {
  const [stats, upstreams] = await Promise.all([administration.stats(), administration.upstreams()]);
  return {
    since: html`Since this process started, ${durationText(nowMs - Date.parse(stats.startedAt))} ago`,
    figures: figuresOf(stats),
    upstreams: upstreamsOf(upstreams, nowMs),
    disk: diskOf(stats.storage, nowMs),
  };
}

function bodyOf(regions: Regions): Html {
  const live = (region: keyof Regions) => html`<div data-live="${region}">${regions[region]}</div>`;
  return html`<div class="head" data-stream="/pages/live">
<h1>Overview</h1>
<p class="sub"><span data-live="since">${regions.since}</span> <span class="pulse" hidden></span></p>
</div>
<section aria-label="Key figures">${live('figures')}</section>
<section aria-labelledby="upstreams"><h2 id="upstreams">Upstreams</h2>${live('upstreams')}</section>
<section aria-labelledby="disk"><h2 id="disk">Disk</h2>${live('disk')}</section>`;
}

function figuresOf({ requests, bytes, upstreamRequests }: Stats): Html {
  const spared = Math.max(0, requests.total - upstreamRequests);
  const ofServed =
    bytes.served === 0 ? 'nothing was served yet' : `${percentText(bytes.saved / bytes.served)} of what was served`;
  const figures = [
    {
      label: 'Hit rate',
      value: requests.hitRatio === null ? '–' : percentText(requests.hitRatio),
      note: `of ${counted(requests.total, 'request')} for content`,
    },
    { label: 'Served', value: bytesText(bytes.served), note: `${bytesText(bytes.fromUpstream)} of it from upstreams` },
    { label: 'Traffic saved', value: bytesText(bytes.saved), note: ofServed },
    {
      label: 'Upstream requests saved',
      value: countText(spared),
      note: `${counted(upstreamRequests, 'request')} sent`,
    },
  ];
  return html`<dl class="figures">${figures.map(figureCard)}</dl>`;
}

type UpstreamRow = Upstreams['items'][number];

const moods: Readonly<Record<UpstreamRow['state'], Mood>> = {
  'not asked yet': 'calm',
  reachable: 'good',
  unreachable: 'bad',
};

function upstreamsOf({ items }: Upstreams, nowMs: number): Html {
  return table<UpstreamRow>({
    caption: 'Upstreams',
    rows: items,
    empty: 'No upstream is configured.',
    columns: [
      { title: 'Registry', kind: 'name', cell: (row) => name(row.name) },
      { title: 'State', cell: (row) => stateOf(row, nowMs) },
      { title: 'Rate limit left', cell: ({ rateLimits }) => rateLimits.map(rateLimitOf) },
      { title: 'Requests', kind: 'wide number', cell: ({ requests }) => countText(requests) },
      { title: 'Received', kind: 'wide number', cell: ({ bytes }) => bytesText(bytes) },
      { title: 'Running', kind: 'wide number', cell: ({ running }) => countText(running) },
    ],
  });
}

function stateOf({ state, reason, circuits, since, lastFailure }: UpstreamRow, nowMs: number): Content {
  const open = circuits.filter((circuit) => circuit.state !== 'closed').length;
  return [
    pill(state, moods[state]),
    open > 0 && html` ${pill(counted(open, 'circuit open', 'circuits open'), 'fair')}`,
    state === 'unreachable' &&
      html` <span class="note">${reason} ${since !== undefined && timeSince(since, nowMs)}</span>`,
    state === 'reachable' &&
      lastFailure !== undefined &&
      html` <span class="note">last failure ${timeSince(lastFailure.at, nowMs)}: ${lastFailure.reason}</span>`,
  ];
}

function rateLimitOf({ account, limit, remaining }: UpstreamRow['rateLimits'][number]): Html {
  const words = `${countText(remaining)} of ${countText(limit)}`;
  const ratio = limit > 0 ? Math.min(1, Math.max(0, remaining / limit)) : 0;
  const look = ratio > 0.25 ? 'good' : ratio > 0.1 ? 'fair' : 'bad';
  return html`<div class="limit"><span>${words}</span> <span class="note">${name(account)}</span>${bar(`${words} left`, [{ look, ratio }])}</div>`;
}

function diskOf(storage: Stats['storage'], nowMs: number): Html {
  const { usedBytes, maxBytes, contentBytes, blobs, manifests, freeBytes, quarantinedFiles, oldestUseAt } = storage;
  const ratio = usedBytes === null ? 0 : usedBytes / maxBytes;
  const words = `${bytesText(usedBytes)} of ${bytesText(maxBytes)}`;
  const facts: readonly (readonly [string, Content])[] = [
    ['Content', `${bytesText(contentBytes)} in ${countText(blobs)} blobs and ${countText(manifests)} manifests`],
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
