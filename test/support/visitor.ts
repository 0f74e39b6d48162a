import { ask, type WholeAnswer } from './client.ts';

export interface PageAnswer extends Pick<WholeAnswer, 'status' | 'headers'> {
  readonly text: string;
}

/** A browser without JavaScript: it keeps the cookie, follows nothing by itself, and sends forms as a browser does. */
export class Visitor {
  readonly #url: string;
  #cookie = '';

  constructor(managementUrl: string) {
    this.#url = managementUrl;
  }

  get url(): string {
    return this.#url;
  }

  get cookie(): string {
    return this.#cookie;
  }

  async get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<PageAnswer> {
    return this.#ask(path, { headers: { ...this.#headers(), ...headers } });
  }

  async post(
    path: string,
    fields: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<PageAnswer> {
    const form = { 'content-type': 'application/x-www-form-urlencoded', origin: this.#url };
    const body = new URLSearchParams(fields).toString();
    return this.#ask(path, { method: 'POST', body, headers: { ...this.#headers(), ...form, ...headers } });
  }

  signIn(token: string, next = '/'): Promise<PageAnswer> {
    return this.post('/login', { token, next });
  }

  #headers(): Readonly<Record<string, string>> {
    return this.#cookie === '' ? {} : { cookie: this.#cookie };
  }

  async #ask(path: string, question: Parameters<typeof ask>[2]): Promise<PageAnswer> {
    const { status, headers, body } = await ask({ url: this.#url }, path, question);
    const [cookie] = headers['set-cookie'] ?? [];
    if (cookie !== undefined) this.#cookie = cookie.split(';')[0] ?? '';
    return { status, headers, text: body.toString() };
  }
}

/** The form token in a page. */
export function formTokenIn({ text }: Pick<PageAnswer, 'text'>): string {
  return /name="form" value="([^"]+)"/.exec(text)?.[1] ?? '';
}
