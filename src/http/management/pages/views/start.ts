import { type ClientName, clientConfiguration, type ReachedMirror } from '../../../../clients/kinds.ts';
import { snippet } from '../drawing/parts.ts';
import { type Html, html, name } from '../html.ts';
import { inImageName } from '../names.ts';
import type { Page } from '../page.ts';
import { mirrorAt, type View } from '../view.ts';

interface Guide {
  readonly title: string;
  readonly kind: ClientName;
  /** Another client that reads the same file. */
  readonly also?: ClientName;
}

const guides: readonly Guide[] = [
  { title: 'Docker', kind: 'docker' },
  { title: 'containerd', kind: 'containerd' },
  { title: 'k3s and RKE2', kind: 'k3s' },
  { title: 'podman, buildah, skopeo, CRI-O', kind: 'podman', also: 'crio' },
  { title: 'BuildKit', kind: 'buildkit' },
];

/** How to point clients at the mirror, for the address that the page was opened by. */
export const start: View = async ({ host }, { administration, clients }): Promise<Page> => {
  const { items } = await administration.upstreams();
  const names = items.map((upstream) => upstream.name);
  const isPattern = (upstream: string) => upstream.includes('*');
  const { url, authority } = mirrorAt(host, clients());
  const registries = names.filter((upstream) => !isPattern(upstream)).map((upstream) => ({ name: upstream }));
  const mirror = { url, registries, patterns: names.filter(isPattern) };
  return { title: 'Getting started', place: 'start', body: bodyOf(mirror, authority) };
};

function bodyOf(mirror: ReachedMirror, authority: string): Html {
  const { url, registries, patterns } = mirror;
  const [first = 'docker.io'] = registries.map((registry) => registry.name);
  const image = first === 'docker.io' ? 'docker.io/library/alpine:latest' : inImageName(`${first}/org/app:v1`);
  const served = [...registries.map((registry) => registry.name), ...patterns];
  return html`<div class="head">
<h1>Getting started</h1>
<p class="sub">Clients pull through <code>${url}</code>. The files below are written for this address. With each of them a client falls back to the registry when the mirror does not answer.</p>
</div>
<section aria-labelledby="try" class="card"><h2 id="try">Try it by hand</h2>
<p>Put the address of the mirror before the name of an image:</p>
${snippet(`docker pull ${authority}/${image}`, 'the pull command')}
<p class="note">This mirror serves ${served.map((one, place) => [place > 0 && ', ', name(one)])}.</p></section>
<nav aria-label="Clients" class="chips"><ul>${guides.map(({ kind, title }) => html`<li><a href="#${kind}">${title}</a></li>`)}</ul></nav>
<div class="guides">${guides.map((guide) => guideOf(guide, mirror))}</div>
<p class="note"><code>layerwell client</code> prints the same for these and other clients, and installs it with <code>--write</code>.</p>`;
}

function guideOf({ title, kind, also }: Guide, mirror: ReachedMirror): Html {
  const { files, next, notes } = clientConfiguration(kind, mirror);
  // containerd has a file for each registry as well; the last is for all that have none.
  const file = files.at(-1);
  return html`<section class="card guide" aria-labelledby="${kind}"><h2 id="${kind}">${title}</h2>
${file !== undefined && html`<p class="file"><code>${file.path}</code></p>${snippet(file.text.trimEnd(), `for ${title}`)}`}
<p class="note">Then: ${next}.</p>
${also !== undefined && html`<p class="note">${also}: ${clientConfiguration(also, mirror).next}.</p>`}
${notes.map((note) => html`<p class="note">${withCode(note)}.</p>`)}</section>`;
}

/** What stands between backticks is code. */
function withCode(text: string): Html {
  return html`${text.split('`').map((part, place) => (place % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}
