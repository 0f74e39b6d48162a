import { type Content, type Html, html } from './html.ts';

/** Where a page is found in the main navigation. */
export type Place = 'overview' | 'browse' | 'start' | 'login' | 'none';

export interface Page {
  readonly title: string;
  readonly place: Place;
  readonly body: Html;
  readonly status?: number;
}

export interface Surroundings {
  /** Whether it is a page of the clients' listener, which only reads. */
  readonly isPublic: boolean;
  /** The form token of who is signed in. */
  readonly formToken: string | undefined;
  /** Told once, above the page. */
  readonly notice: Content;
}

const links: readonly { readonly place: Place; readonly path: string; readonly title: string }[] = [
  { place: 'overview', path: '/', title: 'Overview' },
  { place: 'browse', path: '/browse', title: 'Browse' },
  { place: 'start', path: '/start', title: 'Getting started' },
];
const publicLinks: typeof links = [
  { place: 'browse', path: '/', title: 'Browse' },
  { place: 'start', path: '/start', title: 'Getting started' },
];

const mark = html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false"><path class="m1" d="M16 4 29 10.5 16 17 3 10.5Z"/><path class="m2" d="m6.5 14.5-3.5 1.75L16 22.75l13-6.5-3.5-1.75L16 19.25Z"/><path class="m3" d="m6.5 20.25-3.5 1.75L16 28.5 29 22l-3.5-1.75L16 25Z"/></svg>`;

/** The whole document. */
export function documentOf({ title, place, body }: Page, { isPublic, formToken, notice }: Surroundings): Html {
  const items = (isPublic ? publicLinks : links).map((link) => {
    const isHere = link.place === place && html` aria-current="page"`;
    return html`<li><a href="${link.path}"${isHere}>${link.title}</a></li>`;
  });
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Layerwell</title>
<link rel="icon" href="/pages/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/pages/style.css">
<script src="/pages/live.js" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="top">
<a class="brand" href="/">${mark}<span>Layerwell</span></a>
<nav aria-label="Main"><ul>${items}</ul></nav>
${!isPublic && sign(formToken, place)}
</header>
<main id="content" tabindex="-1">
${notice !== undefined && html`<p class="notice" role="status">${notice}</p>`}
${body}
</main>
<footer class="end"><p>Layerwell, a pull-through mirror for container images</p></footer>
</body>
</html>
`;
}

/** The way in, or out. */
function sign(formToken: string | undefined, place: Place): Html {
  if (formToken === undefined) {
    return html`<a class="sign" href="/login"${place === 'login' && html` aria-current="page"`}>Sign in</a>`;
  }
  return html`<form class="sign" method="post" action="/logout">${tokenField(formToken)}<button type="submit">Sign out</button></form>`;
}

/** Every form that changes something has it. */
export function tokenField(formToken: string): Html {
  return html`<input type="hidden" name="form" value="${formToken}">`;
}
