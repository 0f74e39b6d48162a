import { isDigest } from '../../../../oci/digest.ts';
import type { Reference } from '../../../../oci/reference.ts';
import { snippet } from '../drawing/parts.ts';
import { type Html, html, name } from '../html.ts';
import { inImageName, inPath, type Named, namedText } from '../names.ts';
import type { Page } from '../page.ts';
import { mirrorAt, type PageRequest, type PageSources } from '../view.ts';

export type NamedImage = Named & { readonly reference: Reference };

/** Everything of one image. */
export async function imagePage(image: NamedImage, asked: PageRequest, sources: PageSources): Promise<Page> {
  const { repositoryId, reference } = image;
  const title = namedText(image);
  const body = html`${crumbs(image)}
<div class="head"><p class="registry">${name(repositoryId.upstream)}</p>
<h1>${name(repositoryId.repository)}<span class="reference">${isDigest(reference) ? '@' : ':'}${name(reference)}</span></h1></div>
${actionsOf(title, isDigest(reference))}
${commands(title, mirrorAt(asked.host, sources.clients()).authority)}`;
  return { title, place: 'browse', body };
}

function actionsOf(title: string, isPinned: boolean): Html {
  const to = (action: string) => `/confirm/${action}?image=${encodeURIComponent(title)}`;
  return html`<p class="actions">${!isPinned && html`<a class="button" href="${to('refresh')}">Refresh…</a>`}
<a class="button" href="${to('purge')}">Purge…</a></p>`;
}

function commands(title: string, authority: string): Html {
  const image = `${authority}/${inImageName(title)}`;
  return html`<section aria-labelledby="pull" class="card"><h2 id="pull">Pull</h2>
${snippet(`docker pull ${image}`, 'the command for docker')}
${snippet(`podman pull --tls-verify=false ${image}`, 'the command for podman')}
<p class="note">A client that is <a href="/start">configured for this mirror</a> pulls it by its own name:</p>
${snippet(`docker pull ${title}`, 'the command for a configured client')}</section>`;
}

/** The way back. */
export function crumbs({ repositoryId: { upstream, repository }, reference }: Named): Html {
  const inRegistry = `/browse?registry=${encodeURIComponent(upstream)}`;
  const inRepository = `/browse/${inPath(`${upstream}/${repository}`)}`;
  return html`<nav aria-label="Breadcrumb" class="crumbs"><ol>
<li><a href="/browse">Browse</a></li><li><a href="${inRegistry}">${name(upstream)}</a></li>
${reference !== undefined && html`<li><a href="${inRepository}">${name(repository)}</a></li>`}</ol></nav>`;
}
