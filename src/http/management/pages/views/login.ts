import { type Html, html } from '../html.ts';
import type { Page } from '../page.ts';

export interface LoginForm {
  /** The page to come back to, of this listener. */
  readonly next: string;
  readonly hasToken: boolean;
  /** Why an attempt failed. */
  readonly error?: string | undefined;
}

/** Asks once for the management token. */
export function loginPage({ next, hasToken, error }: LoginForm): Page {
  const body = html`<div class="card narrow">
<h1>Sign in</h1>
${hasToken ? form(next, error) : unconfigured}
</div>`;
  return { title: 'Sign in', place: 'login', body, status: error === undefined ? 200 : 401 };
}

function form(next: string, error: string | undefined): Html {
  const describedBy = error === undefined ? 'token-note' : 'token-error token-note';
  return html`<form method="post" action="/login" class="stack">
<input type="hidden" name="next" value="${next}">
<label for="token">Management token</label>
<input id="token" name="token" type="password" required maxlength="1000" autocomplete="current-password" spellcheck="false" aria-describedby="${describedBy}"${error !== undefined && html` aria-invalid="true"`}>
${error !== undefined && html`<p id="token-error" class="error" role="alert">${error}</p>`}
<p id="token-note" class="note">It is in the file that <code>management.tokenFile</code> names. This browser keeps the id of a session for twelve hours, never the token.</p>
<button type="submit" class="main">Sign in</button>
</form>
<p class="note">You are signed in already and came from another site? <a href="${next}">Continue</a>.</p>`;
}

const unconfigured = html`<p>No token is configured, so these pages change nothing. Write a token of at least 32 random bytes into a file, and name it in the configuration:</p>
<pre tabindex="0" role="group" aria-label="Configuration"><code>"management": { "tokenFile": "/run/secrets/layerwell-token" }</code></pre>`;

/** A path of this listener; anything else is its first page. Pure. */
export function ownPath(text: string): string {
  const base = 'http://mirror.invalid';
  const url = text.startsWith('/') ? URL.parse(text, base) : null;
  // A path that begins with two slashes would name another host.
  return url === null || url.origin !== base || url.pathname.startsWith('//') ? '/' : `${url.pathname}${url.search}`;
}
