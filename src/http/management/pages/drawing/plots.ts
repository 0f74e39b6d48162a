import { type Html, html } from '../html.ts';

/** Values over time, the oldest first. */
export interface Series {
  /** Its class in the style sheet. */
  readonly look: 'first' | 'second';
  readonly values: readonly number[];
}

export interface Plot {
  /** What a screen reader says instead. */
  readonly description: string;
  readonly series: readonly Series[];
}

const [width, height] = [600, 100];

/** Areas over a common axis that begins at zero, drawn one above the other. */
export function areaPlot({ description, series }: Plot): Html {
  const top = Math.max(1, ...series.flatMap(({ values }) => values));
  const lines = series.map(({ look, values }) => ({ look, line: lineOf(values, top) }));
  return html`<svg class="plot" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${description}">
<path class="grid" d="M0 25H${width}M0 50H${width}M0 75H${width}"/>
${lines.map(
  ({ look, line }) =>
    html`<path class="area ${look}" d="M0 ${height}L${line}L${width} ${height}Z"/><path class="line ${look}" d="M${line}"/>`,
)}
</svg>`;
}

/** A small line for a card. */
export function sparkline({ description, series }: Plot): Html {
  const top = Math.max(1e-9, ...series.flatMap(({ values }) => values));
  return html`<svg class="spark" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${description}">
${series.map(({ look, values }) => {
  const line = lineOf(values, top);
  return html`<path class="area ${look}" d="M0 ${height}L${line}L${width} ${height}Z"/><path class="line ${look}" d="M${line}"/>`;
})}
</svg>`;
}

/** Points from the left to the right edge, a hair inside the top and bottom so that no line is cut. */
function lineOf(values: readonly number[], top: number): string {
  const points = values.length === 1 ? [...values, ...values] : values;
  const step = width / Math.max(1, points.length - 1);
  const y = (value: number) => (height - 2 - (value / top) * (height - 4)).toFixed(1);
  return points.length === 0
    ? `0 ${height}`
    : points.map((value, place) => `${(place * step).toFixed(1)} ${y(value)}`).join('L');
}

export interface Share {
  readonly look: string;
  /** Of the whole, 0 to 1. */
  readonly ratio: number;
}

/** A bar with the parts of a whole. */
export function bar(description: string, shares: readonly Share[]): Html {
  let begun = 0;
  const parts = shares.map(({ look, ratio }) => {
    const wide = Math.min(Math.max(0, ratio), 1 - begun);
    const part = html`<rect class="${look}" x="${(begun * 100).toFixed(2)}%" width="${(wide * 100).toFixed(2)}%" height="100%"/>`;
    begun += wide;
    return part;
  });
  return html`<svg class="bar" role="img" aria-label="${description}"><rect class="track" width="100%" height="100%"/>${parts}</svg>`;
}
