import { readFile } from 'node:fs/promises';

/** The first page, with the addresses of this test in place of its own. */
export class Readme {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** @param places what each address or file of the page is called here. */
  static async read(places: Readonly<Record<string, string>>): Promise<Readme> {
    const text = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    const names = Object.keys(places).map((name) => name.replaceAll('.', String.raw`\.`));
    return new Readme(text.replace(new RegExp(names.join('|'), 'g'), (name) => places[name] ?? name));
  }

  /** The first block of code behind `words`. @throws where there is none. */
  blockAfter(words: string): string {
    const from = this.#text.indexOf(words);
    const [, block] = /^```\w+\n([^]*?)^```$/m.exec(from === -1 ? '' : this.#text.slice(from)) ?? [];
    if (block === undefined) throw new Error(`the README has no code behind "${words}"`);
    return block;
  }

  /** What is written `` `like this` ``, from the first that begins with `words`. @throws where nothing does. */
  commandWith(words: string): string {
    const from = this.#text.indexOf(`\`${words}`);
    if (from === -1) throw new Error(`the README has no command "${words}"`);
    return this.#text.slice(from + 1, this.#text.indexOf('`', from + 1));
  }
}
