import { type Html, html } from '../html.ts';

export interface Option {
  readonly value: string;
  readonly title: string;
}

/** A field of a filter: a text, or a choice of options. */
export interface Field {
  readonly name: string;
  readonly label: string;
  readonly value: string;
  readonly options?: readonly Option[];
}

export interface Filter {
  readonly action: string;
  readonly fields: readonly Field[];
  readonly hidden: Readonly<Record<string, string>>;
}

/** A form whose answer is the same page, filtered. */
export function filterForm({ action, fields, hidden }: Filter): Html {
  const isUsed = fields.some(({ value, options }) => value !== (options?.[0]?.value ?? ''));
  const kept = Object.entries(hidden);
  const all = `${action}${kept.length > 0 ? `?${String(new URLSearchParams(hidden))}` : ''}`;
  return html`<form class="filter" action="${action}" data-filter role="search">
${kept.map(([word, value]) => html`<input type="hidden" name="${word}" value="${value}">`)}
${fields.map(fieldOf)}
<div class="actions"><button type="submit">Filter</button>${isUsed && html`<a class="button" href="${all}">Clear</a>`}</div>
</form>`;
}

function fieldOf({ name, label, value, options }: Field): Html {
  const id = `filter-${name}`;
  const input =
    options === undefined
      ? html`<input id="${id}" name="${name}" type="search" value="${value}" maxlength="300" autocomplete="off" spellcheck="false">`
      : html`<select id="${id}" name="${name}">${options.map((option) => optionOf(option, value))}</select>`;
  return html`<div class="field"><label for="${id}">${label}</label>${input}</div>`;
}

function optionOf({ value, title }: Option, chosen: string): Html {
  return html`<option value="${value}"${value === chosen && html` selected`}>${title}</option>`;
}

export interface Pages {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly nextCursor: string | undefined;
}

/** The way to the next page of a list, and back to the first. */
export function pager({ path, query, nextCursor }: Pages): Html {
  const first = new URLSearchParams(query);
  const isFirst = !first.has('cursor');
  first.delete('cursor');
  const next = new URLSearchParams(first);
  if (nextCursor !== undefined) next.set('cursor', nextCursor);
  if (isFirst && nextCursor === undefined) return html``;
  return html`<nav class="pager" aria-label="Pages of the list">
${isFirst ? html`<span></span>` : html`<a class="button" href="${path}?${String(first)}">First page</a>`}
${nextCursor !== undefined && html`<a class="button" rel="next" href="${path}?${String(next)}">Next page</a>`}
</nav>`;
}
