import { type Content, type Html, html } from '../html.ts';

/** A card with one number. */
export interface Figure {
  readonly label: string;
  readonly value: string;
  /** Below the number. */
  readonly note: Content;
  readonly plot?: Html | undefined;
}

export function figureCard({ label, value, note, plot }: Figure): Html {
  return html`<div class="card figure">
<dt>${label}</dt>
<dd><span class="number">${value}</span><span class="note">${note}</span>${plot}</dd>
</div>`;
}

export type Mood = 'good' | 'fair' | 'bad' | 'calm';

/** A state in a word; its colour says nothing that the word does not. */
export function pill(word: string, mood: Mood): Html {
  return html`<span class="pill ${mood}">${word}</span>`;
}

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Content;
  /** `number`: aligned to the right. `wide`: only where there is room. `name`: names the row. */
  readonly kind?: 'number' | 'name' | 'wide' | 'wide number';
}

export interface TableOf<Row> {
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** What is said instead of a table without rows. */
  readonly empty: Content;
  /** The title of the first column is read to everybody, the caption only to who does not see the heading above. */
  readonly isCaptionHidden?: boolean;
}

export function table<Row>({ caption, columns, rows, empty, isCaptionHidden = true }: TableOf<Row>): Html {
  if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
  const classOf = ({ kind }: Column<Row>) => kind !== undefined && html` class="${kind}"`;
  const cellOf = (column: Column<Row>, row: Row) =>
    column.kind === 'name'
      ? html`<th scope="row" class="name">${column.cell(row)}</th>`
      : html`<td${classOf(column)}>${column.cell(row)}</td>`;
  return html`<div class="scroll" role="group" aria-label="${caption}" tabindex="0"><table>
<caption${isCaptionHidden && html` class="hidden"`}>${caption}</caption>
<thead><tr>${columns.map((column) => html`<th scope="col"${classOf(column)}>${column.title}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row) => html`
<tr>${columns.map((column) => cellOf(column, row))}</tr>`,
  )}
</tbody>
</table></div>`;
}

/** A text to copy, as it is to be typed. */
export function snippet(text: string, label: string): Html {
  return html`<div class="snippet">
<pre tabindex="0" role="group" aria-label="${label}"><code>${text}</code></pre>
<button type="button" class="copy" hidden>Copy<span class="hidden"> ${label}</span></button>
</div>`;
}
