import { parsePlatform } from '../../../../mirror/administration/jobs/image-contents.ts';
import { repositoryKey } from '../../../../mirror/ports/repository-id.ts';
import { isDigest } from '../../../../oci/digest.ts';
import type { Reference } from '../../../../oci/reference.ts';
import type { Image } from '../../api/image-routes.ts';
import { pill, snippet } from '../drawing/parts.ts';
import { bytesText, counted, timeSince } from '../drawing/words.ts';
import { type Content, type Html, html, name } from '../html.ts';
import { inImageName, inPath, type Named, namedText } from '../names.ts';
import type { Page } from '../page.ts';
import { mirrorAt, type MirrorAddress, type PageRequest, type PageSources } from '../view.ts';
import { labelsOf, layersOf, referrersOf } from './image-parts.ts';

export type NamedImage = Named & { readonly reference: Reference };

/** Everything that the cache has of one image. @throws Problem */
export async function imagePage(image: NamedImage, asked: PageRequest, sources: PageSources): Promise<Page> {
  const { repositoryId, reference } = image;
  const details = await detailsOf(image, asked, sources);
  const title = namedText(image);
  const { image: chosen } = details;
  const body = html`${crumbs(image, asked)}
<div class="head"><p class="registry">${name(repositoryId.upstream)}</p>
<h1>${name(repositoryId.repository)}<span class="reference">${isDigest(reference) ? '@' : ':'}${name(reference)}</span></h1>
<p class="sub">${stateOf(details)}</p></div>
${!asked.isPublic && actionsOf(title, { isByDigest: isDigest(reference), isPinned: isPinned(title, sources) })}
${commands(title, mirrorAt(asked.host, sources.clients()))}
${factsOf(details, asked)}
${platformsOf(details, asked)}
${chosen !== undefined && layersOf(chosen, asked)}
${labelsOf(details)}
${referrersOf(details, asked)}`;
  return { title, place: 'browse', body };
}

/** Whether an operator pinned it by this name. Of more pins, the rest is not looked at. */
function isPinned(title: string, { administration }: PageSources): boolean {
  const { items } = administration.pins.list({ limit: 1_000 });
  return items.some(({ pin, isRemovable }) => pin === title && isRemovable);
}

/** Of an index, those of the wanted platform, or else of the first that is stored. */
async function detailsOf({ repositoryId, reference }: NamedImage, asked: PageRequest, sources: PageSources) {
  const { images } = sources.administration;
  const platform = parsePlatform(asked.query.get('platform') ?? '');
  const wanted = { repositoryId, reference, isForClients: asked.isPublic };
  const details = await images.details({ ...wanted, platform }, asked);
  const first = parsePlatform(details.manifests?.find((one) => one.isStored && isRunnable(one))?.platform ?? '');
  if (platform !== undefined || first === undefined) return details;
  return images.details({ ...wanted, platform: first }, asked);
}

type Listed = NonNullable<Image['manifests']>[number];

function isRunnable({ platform, attests }: Listed): boolean {
  return platform !== undefined && attests === undefined;
}

function actionsOf(title: string, { isByDigest, isPinned }: Record<'isByDigest' | 'isPinned', boolean>): Html {
  const to = (action: string) => `/confirm/${action}?image=${encodeURIComponent(title)}`;
  return html`<p class="actions"><a class="button" href="${to('warm')}">Warm…</a>
${!isByDigest && html`<a class="button" href="${to('refresh')}">Refresh…</a>`}
${isPinned ? html`<a class="button" href="${to('unpin')}">Unpin…</a>` : html`<a class="button" href="${to('pin')}">Pin…</a>`}
<a class="button" href="${to('purge')}">Purge…</a></p>`;
}

function commands(title: string, { authority, isTls }: MirrorAddress): Html {
  const image = `${authority}/${inImageName(title)}`;
  return html`<section aria-labelledby="pull" class="card"><h2 id="pull">Pull</h2>
${snippet(`docker pull ${image}`, 'the command for docker')}
${snippet(`podman pull ${isTls ? '' : '--tls-verify=false '}${image}`, 'the command for podman')}
<p class="note">A client that is <a href="/start">configured for this mirror</a> pulls it by its own name:</p>
${snippet(`docker pull ${title}`, 'the command for a configured client')}</section>`;
}

function stateOf({ isStored, tag, image }: Image): Content {
  const isWhole = image !== undefined && image.storedBytes === image.totalBytes;
  return html`<span class="state">${!isStored ? pill('not stored', 'fair') : isWhole ? pill('stored', 'good') : pill('stored in part', 'calm')}
${tag !== undefined && (tag.isFresh ? pill('fresh', 'good') : pill('to be confirmed', 'calm'))}</span>`;
}

function factsOf(details: Image, { nowMs, isPublic, base }: PageRequest): Html {
  const { digest, mediaType, tag, tags, moreTags, firstPullAt, lastPullAt, image } = details;
  const since = (at: string | undefined) => at !== undefined && timeSince(at, nowMs);
  const link = (one: string) => html`<a href="${base}/${inPath(`${details.name}:${one}`)}">${name(one)}</a> `;
  const facts: readonly (readonly [string, Content])[] = [
    ['Digest', html`<code>${digest}</code>`],
    ['Type', mediaType],
    ['Size', image && `${bytesText(image.storedBytes)} stored of ${bytesText(image.totalBytes)}`],
    ['Built', since(image?.configuration?.created)],
    ['Tags', tags.length > 0 && [tags.map(link), moreTags > 0 && `and ${counted(moreTags, 'more tag')}`]],
    ['First pull', !isPublic && since(firstPullAt)],
    ['Last pull', !isPublic && since(lastPullAt)],
    ['Confirmed by the registry', since(tag?.confirmedAt)],
    ['Served without asking until', tag && (tag.freshUntil === null ? 'for ever' : timeSince(tag.freshUntil, nowMs))],
    ['Before it moved', tag?.previousDigest !== undefined && html`<code>${tag.previousDigest}</code>`],
  ];
  const known = facts.filter(([, value]) => value !== undefined && value !== false);
  return html`<section aria-labelledby="facts" class="card"><h2 id="facts">Details</h2>
<dl class="facts wide-facts">${known.map(([title, value]) => html`<div><dt>${title}</dt><dd>${value}</dd></div>`)}</dl>
${details.isTooLarge && html`<p class="note">The manifest is too large to be looked into.</p>`}</section>`;
}

/** The images of an index: one of them is told of below. */
function platformsOf({ manifests, image }: Image, { path }: PageRequest): Html {
  const listed = (manifests ?? []).filter(isRunnable);
  if (listed.length === 0) return html``;
  const items = listed.map(({ platform = '', digest, isStored }) => {
    const isHere = digest === image?.digest && html` aria-current="true"`;
    const at = `${path}?platform=${encodeURIComponent(platform)}`;
    return html`<li><a href="${at}"${isHere}>${name(platform)}${!isStored && html` <span class="note">not stored</span>`}</a></li>`;
  });
  return html`<section aria-labelledby="platforms"><h2 id="platforms">Platforms</h2>
<nav aria-labelledby="platforms" class="chips"><ul>${items}</ul></nav></section>`;
}

/** The way back. */
export function crumbs({ repositoryId, reference }: Named, { base, isPublic }: PageRequest): Html {
  const { upstream, repository } = repositoryId;
  const inRegistry = isPublic ? '/' : `${base}?registry=${encodeURIComponent(upstream)}`;
  return html`<nav aria-label="Breadcrumb" class="crumbs"><ol>
<li><a href="${isPublic ? '/' : base}">Browse</a></li>${!isPublic && html`<li><a href="${inRegistry}">${name(upstream)}</a></li>`}
${reference !== undefined && html`<li><a href="${base}/${inPath(repositoryKey(repositoryId))}">${name(repository)}</a></li>`}</ol></nav>`;
}
