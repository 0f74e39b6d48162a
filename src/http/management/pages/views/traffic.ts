import type { Minutes } from '../../api/minutes-routes.ts';
import type { Stats } from '../../api/schemas.ts';
import { figureCard } from '../drawing/parts.ts';
import { areaPlot, sparkline } from '../drawing/plots.ts';
import { bytesText, counted, countText, percentText } from '../drawing/words.ts';
import { type Html, html } from '../html.ts';

type Minute = Minutes['items'][number];

/** What happened in a few minutes together. */
export interface Traffic {
  readonly served: number;
  readonly fromUpstream: number;
  /** Requests for content. */
  readonly requests: number;
  readonly hits: number;
  readonly upstreamRequests: number;
}

const minuteMs = 60_000;
const hits = ['hit', 'revalidated', 'stale'] as const;

/** The minutes before `nowMs` in equal parts, the oldest first. A part in which the mirror did not run has nothing. Pure. */
export function trafficIn(
  minutes: readonly Minute[],
  { nowMs, parts, minutesEach }: { readonly nowMs: number; readonly parts: number; readonly minutesEach: number },
): readonly Traffic[] {
  const endMs = (Math.floor(nowMs / minuteMs) + 1) * minuteMs;
  const sums = Array.from({ length: parts }, () => ({ ...nothing }));
  for (const minute of minutes) {
    const sum = sums[parts - Math.ceil((endMs - Date.parse(minute.at)) / (minutesEach * minuteMs))];
    if (sum === undefined) continue;
    const { none: _, ...about } = minute.requests;
    sum.served += minute.bytes.served;
    sum.fromUpstream += minute.bytes.fromUpstream;
    sum.requests += Object.values(about).reduce((total, count) => total + count, 0);
    sum.hits += hits.reduce((total, word) => total + about[word], 0);
    sum.upstreamRequests += minute.upstreamRequests;
  }
  return sums;
}

const nothing: Traffic = { served: 0, fromUpstream: 0, requests: 0, hits: 0, upstreamRequests: 0 };

/** The cards at the top: since the start of the process, and how it went over a day. */
export function figuresOf({ requests, bytes, upstreamRequests }: Stats, day: readonly Traffic[]): Html {
  const spared = Math.max(0, requests.total - upstreamRequests);
  const ofServed =
    bytes.served === 0 ? 'nothing was served yet' : `${percentText(bytes.saved / bytes.served)} of what was served`;
  const over = (description: string, valueOf: (one: Traffic) => number) =>
    sparkline({
      description: `${description} over the last 24 hours`,
      series: [{ look: 'first', values: day.map(valueOf) }],
    });
  const figures = [
    {
      label: 'Hit ratio',
      value: requests.hitRatio === null ? '–' : percentText(requests.hitRatio),
      note: `of ${counted(requests.total, 'request')} for content`,
      plot: sparkline({
        description: 'The hit ratio over the last 24 hours',
        series: [{ look: 'first', values: hitRates(day) }],
      }),
    },
    {
      label: 'Served',
      value: bytesText(bytes.served),
      note: `${bytesText(bytes.fromUpstream)} received from upstreams`,
      plot: over('Bytes served', (one) => one.served),
    },
    {
      label: 'Traffic saved',
      value: bytesText(bytes.saved),
      note: ofServed,
      plot: over('Bytes saved', (one) => Math.max(0, one.served - one.fromUpstream)),
    },
    {
      label: 'Upstream requests saved',
      value: countText(spared),
      note: `${counted(upstreamRequests, 'request')} sent`,
      plot: over('Requests saved', (one) => Math.max(0, one.requests - one.upstreamRequests)),
    },
  ];
  return html`<dl class="figures">${figures.map(figureCard)}</dl>`;
}

/** Where nothing was asked for, the rate is that of before. Pure. */
export function hitRates(traffic: readonly Traffic[]): readonly number[] {
  let rate = 0;
  return traffic.map(({ requests, hits: found }) => {
    if (requests > 0) rate = found / requests;
    return rate;
  });
}

interface Period {
  readonly title: string;
  readonly begin: string;
  readonly each: string;
  readonly traffic: readonly Traffic[];
}

/** What was served, and what of it came from upstreams, as areas over time. */
export function trafficPlot({ title, begin, each, traffic }: Period): Html {
  const [served, fetched] = [traffic.map((one) => one.served), traffic.map((one) => one.fromUpstream)];
  const sumOf = (values: readonly number[]) => bytesText(values.reduce((sum, value) => sum + value, 0));
  const peak = bytesText(Math.max(0, ...served, ...fetched));
  const words = `${sumOf(served)} served, ${sumOf(fetched)} from upstreams, at most ${peak} ${each}`;
  return html`<figure class="card traffic">
<figcaption><h3>${title}</h3>
<p class="legend"><span class="key">Served ${sumOf(served)}</span><span class="key second">From upstreams ${sumOf(fetched)}</span></p></figcaption>
<div class="plotted"><span class="peak" aria-hidden="true">${peak} ${each}</span>
${areaPlot({
  description: `${title}: ${words}`,
  series: [
    { look: 'first', values: served },
    { look: 'second', values: fetched },
  ],
})}</div>
<p class="axis" aria-hidden="true"><span>${begin}</span><span>now</span></p>
</figure>`;
}
