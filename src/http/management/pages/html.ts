/** What a template takes: text and numbers are escaped, `undefined` and `false` leave nothing. */
export type Content = string | number | Html | undefined | false | readonly Content[];

/** HTML in which every text was escaped. Made only by {@link html}: the type is the proof. */
export class Html {
  readonly text: string;

  private constructor(text: string) {
    this.text = text;
  }

  /** Takes the literal parts of a template as they are, and escapes what comes between; attribute values stand in double quotes. */
  static from(literals: TemplateStringsArray, ...contents: readonly Content[]): Html {
    const pieces = literals.map((literal, place) =>
      place === 0 ? literal : `${textOf(contents[place - 1])}${literal}`,
    );
    return new Html(pieces.join(''));
  }
}

/** The tag of templates that make HTML. */
export const html: typeof Html.from = (literals, ...contents) => Html.from(literals, ...contents);

function textOf(content: Content): string {
  if (content === undefined || content === false) return '';
  if (content instanceof Html) return content.text;
  if (typeof content === 'string') return escaped(content);
  if (typeof content === 'number') return String(content);
  return content.map(textOf).join('');
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Control characters, and those that turn the direction of what follows (Trojan Source, CVE-2021-42574), are replaced. */
function escaped(text: string): string {
  return text
    .replaceAll(/[&<>"']/g, (sign) => entities[sign] ?? '')
    .replaceAll(/(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu, '\uFFFD');
}

/** Text that others chose, in its own direction: it does not change the order of what is around it. */
export function name(text: string): Html {
  return html`<bdi>${text}</bdi>`;
}
