import { Problem } from '../../problems.ts';
import { filterForm, pager } from '../drawing/forms.ts';
import { type Html, html, name } from '../html.ts';
import { inPath, type Named, namedText, parseNamed } from '../names.ts';
import type { Page } from '../page.ts';
import type { PageRequest, PageSources, View } from '../view.ts';
import { crumbs, imagePage } from './image.ts';
import { fieldsOf, listOf, repositoryTable, tagTable } from './lists.ts';

const path = '/browse';

/** What the mirror has: the repositories, or the tags of all of them. */
export const browse: View = async (asked, sources): Promise<Page> => {
  const isTags = asked.query.get('list') === 'tags';
  const [list, upstreams] = await Promise.all([listHtml(asked, sources, isTags), sources.administration.upstreams()]);
  const registries = upstreams.items.map((upstream) => upstream.name);
  const hidden = isTags ? { list: 'tags' } : {};
  const body = html`<div class="head"><h1>Browse</h1><p class="sub">What this mirror keeps in its cache.</p></div>
<nav aria-label="Lists" class="tabs"><ul>${tab('Repositories', path, !isTags)}${tab('Tags', `${path}?list=tags`, isTags)}</ul></nav>
${filterForm({ action: path, fields: fieldsOf(asked, registries), hidden })}
<section aria-label="${isTags ? 'Tags' : 'Repositories'}">${list}</section>`;
  return { title: 'Browse', place: 'browse', body };
};

async function listHtml(asked: PageRequest, { administration }: PageSources, isTags: boolean): Promise<Html> {
  const { query, nowMs } = asked;
  if (isTags) {
    const { items, nextCursor } = await administration.catalogue.tags(listOf(asked));
    return html`${tagTable(items, { ...asked, isOfOne: false })}${pager({ path, query, nextCursor })}`;
  }
  const { items, nextCursor } = await administration.catalogue.repositories(listOf(asked));
  return html`${repositoryTable(items, nowMs)}${pager({ path, query, nextCursor })}`;
}

function tab(title: string, to: string, isHere: boolean): Html {
  return html`<li><a href="${to}"${isHere && html` aria-current="page"`}>${title}</a></li>`;
}

/** A repository, or an image of it. */
export const named: View = async (asked, sources): Promise<Page> => {
  const found = parseNamed(decodedPath(asked.path.slice(asked.base.length + 1)));
  if (found === undefined) throw new Problem('not-found', 'this is not the name of a repository or an image');
  return found.reference === undefined
    ? repositoryPage(found, asked, sources)
    : imagePage({ ...found, reference: found.reference }, asked, sources);
};

async function repositoryPage(found: Named, asked: PageRequest, { administration }: PageSources): Promise<Page> {
  const { query } = asked;
  const { upstream, repository } = found.repositoryId;
  const { items, nextCursor } = await administration.catalogue.tags(listOf(asked), found.repositoryId);
  const title = namedText(found);
  const here = `${asked.base}/${inPath(title)}`;
  const body = html`${crumbs(found, asked)}
<div class="head"><p class="registry">${name(upstream)}</p><h1>${name(repository)}</h1></div>
${!asked.isPublic && html`<p class="actions"><a class="button" href="/confirm/purge?image=${encodeURIComponent(title)}">Purge…</a></p>`}
${filterForm({ action: here, fields: fieldsOf(asked, undefined), hidden: {} })}
<section aria-labelledby="tags"><h2 id="tags">Tags</h2>
${tagTable(items, { ...asked, isOfOne: true })}${pager({ path: here, query, nextCursor })}</section>`;
  return { title, place: 'browse', body };
}

/** Empty if it cannot be decoded. Pure. */
export function decodedPath(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
