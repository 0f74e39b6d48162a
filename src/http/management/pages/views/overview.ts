import type { Upstreams } from '../../api/schemas.ts';
import { bar } from '../drawing/plots.ts';
import { type Mood, pill, table } from '../drawing/parts.ts';
import { bytesText, counted, countText, durationText, timeSince } from '../drawing/words.ts';
import { type Html, html, name } from '../html.ts';
import type { Page } from '../page.ts';
import type { PageSources, View } from '../view.ts';
import { diskOf, downloadsOf, evictionsOf, jobsOf } from './store.ts';
import { figuresOf, trafficIn, trafficPlot } from './traffic.ts';

/** The parts of the overview that change while it is looked at, by their names. */
export type Regions = Readonly<
  Record<'since' | 'figures' | 'traffic' | 'downloads' | 'jobs' | 'upstreams' | 'disk' | 'evictions', Html>
>;

export const overview: View = async ({ nowMs }, sources): Promise<Page> => {
  const regions = await overviewRegions(sources, nowMs);
  return { title: 'Overview', place: 'overview', body: bodyOf(regions) };
};

/** @throws Problem */
export async function overviewRegions({ administration }: PageSources, nowMs: number): Promise<Regions> {
  const { minutes, storage } = administration;
  const [stats, upstreams, evictions] = await Promise.all([
    administration.stats(),
    administration.upstreams(),
    storage.nextEvictions({ limit: evictionsShown }),
  ]);
  const { items } = minutes.list({ fromMs: nowMs - dayMs });
  const day = trafficIn(items, { nowMs, parts: 96, minutesEach: 15 });
  const hour = trafficIn(items, { nowMs, parts: 60, minutesEach: 1 });
  return {
    since: html`Since this process started, ${durationText(nowMs - Date.parse(stats.startedAt))} ago`,
    figures: figuresOf(stats, trafficIn(items, { nowMs, parts: 48, minutesEach: 30 })),
    traffic: html`${trafficPlot({ title: 'Last 24 hours', begin: '24 hours ago', each: 'in 15 minutes', traffic: day })}
${trafficPlot({ title: 'Last hour', begin: '1 hour ago', each: 'in a minute', traffic: hour })}`,
    downloads: downloadsOf(storage.downloads()),
    jobs: jobsOf(administration.jobs.list(), nowMs),
    upstreams: upstreamsOf(upstreams, nowMs),
    disk: diskOf(stats.storage, nowMs),
    evictions: evictionsOf(evictions, nowMs),
  };
}

const dayMs = 86_400_000;
const evictionsShown = 5;

function bodyOf(regions: Regions): Html {
  const live = (region: keyof Regions, look?: string) =>
    html`<div data-live="${region}"${look !== undefined && html` class="${look}"`}>${regions[region]}</div>`;
  const part = (id: keyof Regions, title: string, more?: Html) =>
    html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${live(id)}${more}</section>`;
  return html`<div class="head" data-stream="/pages/live">
<h1>Overview</h1>
<p class="sub"><span data-live="since">${regions.since}</span> <span class="pulse" hidden></span></p>
</div>
<section aria-label="Key figures">${live('figures')}</section>
<section aria-labelledby="traffic"><h2 id="traffic">Traffic</h2>${live('traffic', 'plots')}</section>
${part('downloads', 'Running downloads', live('jobs'))}
${part('upstreams', 'Upstreams')}
${part('disk', 'Disk')}
${part('evictions', 'Evicted next')}`;
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
      { title: 'State and rate limit left', cell: (row) => stateOf(row, nowMs) },
      { title: 'Requests', kind: 'wide number', cell: ({ requests }) => countText(requests) },
      { title: 'Received', kind: 'wide number', cell: ({ bytes }) => bytesText(bytes) },
      { title: 'Running', kind: 'wide number', cell: ({ running }) => countText(running) },
    ],
  });
}

function stateOf({ state, reason, circuits, since, lastFailure, rateLimits }: UpstreamRow, nowMs: number): Html {
  const open = circuits.filter((circuit) => circuit.state !== 'closed').length;
  const isDown = state === 'unreachable';
  return html`<div class="state">${pill(state, moods[state])}
${open > 0 && pill(counted(open, 'circuit open', 'circuits open'), 'fair')}
${isDown && html`<span class="note">${reason} ${since !== undefined && timeSince(since, nowMs)}</span>`}
${!isDown && lastFailure !== undefined && html`<span class="note">last failure ${timeSince(lastFailure.at, nowMs)}: ${lastFailure.reason}</span>`}
${rateLimits.map(rateLimitOf)}</div>`;
}

function rateLimitOf({ account, limit, remaining }: UpstreamRow['rateLimits'][number]): Html {
  const words = `${countText(remaining)} of ${countText(limit)}`;
  const ratio = limit > 0 ? Math.min(1, Math.max(0, remaining / limit)) : 0;
  const look = ratio > 0.25 ? 'good' : ratio > 0.1 ? 'fair' : 'bad';
  return html`<div class="limit"><span>${words}</span> <span class="note">${name(account)}</span>${bar(`${words} left`, [{ look, ratio }])}</div>`;
}
