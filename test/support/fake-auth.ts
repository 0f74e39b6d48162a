import type { IncomingMessage } from 'node:http';
import { type Answer, errorBody } from './fake-answer.ts';

export type FakeAuthOptions =
  | { readonly kind: 'none' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | {
      readonly kind: 'bearer';
      /** The account for tokens; absent: anonymous. */
      readonly username?: string;
      readonly password?: string;
      /** Where tokens are had; absent: `/token` of the fake registry itself. */
      readonly realm?: string;
      /** As the token endpoint tells it; absent: it doesn't. */
      readonly expiresInSeconds?: number;
      /** Repositories that an anonymous token does not open. */
      readonly privateRepositories?: readonly string[];
    };

/** The accounts of the fake registry, and the tokens it has issued. */
export class FakeAuth {
  readonly options: FakeAuthOptions;
  readonly #tokens = new Map<string, { readonly scope: string; readonly anonymous: boolean }>();
  #issued = 0;

  constructor(options: FakeAuthOptions) {
    this.options = options;
  }

  /** From now on no token issued so far is accepted. */
  revokeTokens(): void {
    this.#tokens.clear();
  }

  /** @returns the refusal, or undefined where the request may continue. */
  refusal({ headers: { authorization } }: IncomingMessage, repository: string, ownUrl: string): Answer | undefined {
    const { options } = this;
    if (options.kind === 'none') return undefined;
    if (options.kind === 'basic') {
      return authorization === basic(options.username, options.password) ? undefined : challenge('Basic realm="fake"');
    }
    const token = this.#tokens.get(authorization?.replace(/^Bearer /, '') ?? '');
    if (token && opens(token, repository, options.privateRepositories ?? [])) return undefined;
    const scope = repository === '' ? '' : `,scope="${scopeOf(repository)}"`;
    return challenge(`Bearer realm="${options.realm ?? `${ownUrl}/token`}",service="fake"${scope}`);
  }

  /** What the token endpoint answers. */
  token({ headers: { authorization } }: IncomingMessage, query: URLSearchParams): Answer {
    const { options } = this;
    if (options.kind !== 'bearer') return json(404, {});
    const isKnown = authorization === basic(options.username ?? '', options.password ?? '');
    if (authorization === undefined ? options.username !== undefined && !options.privateRepositories : !isKnown) {
      return { status: 401, headers: {}, body: errorBody('UNAUTHORIZED') };
    }
    return json(200, this.issue(query.getAll('scope').join(' '), { anonymous: authorization === undefined }));
  }

  /** The answer of a token endpoint to a known account. */
  issue(scope: string, { anonymous = false } = {}): object {
    const { options } = this;
    this.#issued += 1;
    const token = `token-${this.#issued}`;
    this.#tokens.set(token, { scope, anonymous });
    const isTold = options.kind === 'bearer' && options.expiresInSeconds !== undefined;
    return { token, access_token: token, ...(isTold && { expires_in: options.expiresInSeconds }) };
  }
}

function opens(
  token: { readonly scope: string; readonly anonymous: boolean },
  repository: string,
  privateRepositories: readonly string[],
): boolean {
  if (repository === '') return true;
  if (token.anonymous && privateRepositories.includes(repository)) return false;
  return token.scope.split(' ').includes(scopeOf(repository));
}

function scopeOf(repository: string): string {
  return `repository:${repository}:pull`;
}

function challenge(wwwAuthenticate: string): Answer {
  return { status: 401, headers: { 'www-authenticate': wwwAuthenticate }, body: errorBody('UNAUTHORIZED') };
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function json(status: number, value: object): Answer {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)) };
}
