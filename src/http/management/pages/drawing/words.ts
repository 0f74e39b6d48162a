import { type Html, html } from '../html.ts';

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.25 GiB`. Null is what is not known. Pure. */
export function bytesText(bytes: number | null): string {
  if (bytes === null) return 'unknown';
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : rounded(value)} ${units[power]}`;
}

/** Three digits. */
function rounded(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** `12,345`. */
export function countText(count: number | null): string {
  return count === null ? 'unknown' : count.toLocaleString('en-US');
}

/** `3 tags`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : many}`;
}

/** `97.2 %`. It is never rounded to all or nothing. */
export function percentText(ratio: number): string {
  const percent = ratio * 100;
  if (percent > 99.9 && percent < 100) return '> 99.9 %';
  if (percent > 0 && percent < 0.1) return '< 0.1 %';
  return `${percent === 100 || percent === 0 ? percent : percent.toFixed(1)} %`;
}

const steps = [
  { unit: 'day', ms: 86_400_000 },
  { unit: 'hour', ms: 3_600_000 },
  { unit: 'minute', ms: 60_000 },
  { unit: 'second', ms: 1_000 },
] as const;

/** `3 hours`. */
export function durationText(ms: number): string {
  const step = steps.find((one) => ms >= one.ms);
  return step === undefined ? 'a moment' : counted(Math.floor(ms / step.ms), step.unit);
}

/** How long ago something was, or how soon it is, with its exact time. */
export function timeSince(iso: string, nowMs: number): Html {
  const awayMs = nowMs - Date.parse(iso);
  const text =
    Math.abs(awayMs) < 1_000 ? 'just now' : awayMs > 0 ? `${durationText(awayMs)} ago` : `in ${durationText(-awayMs)}`;
  return html`<time datetime="${iso}" title="${iso}">${text}</time>`;
}

/** The beginning of a digest, with all of it for who asks. */
export function shortDigest(digest: string): Html {
  const [algorithm = '', hex = ''] = digest.split(':');
  return html`<code class="digest" title="${digest}">${algorithm === 'sha256' ? '' : `${algorithm}:`}${hex.slice(0, 12)}</code>`;
}
