import { parsePlatform } from '../../../mirror/administration/jobs/image-contents.ts';
import { parseHostName } from '../../../oci/reference.ts';
import { isDigest } from '../../../oci/digest.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { type Pin, parsePin } from '../../../mirror/administration/pins/pin-set.ts';
import type { PurgeTarget } from '../../../mirror/administration/purge-removal.ts';
import { Problem } from '../problems.ts';
import type { PurgeAnswer } from '../api/content/purge-routes.ts';
import type { Administration } from '../api/routes.ts';
import { bytesText, counted } from './drawing/words.ts';
import { type Content, type Html, html, name } from './html.ts';
import { inPath, type Named, namedText, parseNamed } from './names.ts';
import { type Page, tokenField } from './page.ts';
import type { PageRequest, PageSources } from './view.ts';
import type { Session } from './sessions.ts';

/** What an operator may do with a repository or an image, after a confirmation. */
interface Action {
  readonly title: string;
  /** Whether something is lost. */
  readonly isDangerous: boolean;
  /** Says what it would do. @throws Problem when it cannot be done. */
  plan(named: Named, administration: Administration, waiting: Waiting): Promise<Content>;
  /** What it may be told. */
  readonly fields?: Html;
  /** Does it. @returns what was done. @throws Problem */
  run(named: Named, administration: Administration, asked: Asked): Promise<Done>;
}

interface Asked extends Waiting {
  readonly form: URLSearchParams;
}

interface Done {
  readonly notice: string;
  /** What is left to look at. */
  readonly next: Named | undefined;
}

const purge: Action = {
  title: 'Purge',
  isDangerous: true,
  plan: async (named, { purges }, { signal }) => {
    const { removed, kept } = await purges.purge(targetOf(named), { dryRun: true, signal });
    return html`<p>This removes <strong>${removedText(removed)}</strong> from the cache of this mirror.${kept > 0 && ` ${counted(kept, 'content')} stay, because another tag, image or repository needs them.`}</p>
<p>Nothing changes at the registry: the next pull fetches it again. Pulls that run are not disturbed.</p>`;
  },
  run: async (named, { purges }, { signal }) => {
    const { removed } = await purges.purge(targetOf(named), { dryRun: false, signal });
    const next = named.reference === undefined ? undefined : { ...named, reference: undefined };
    return { notice: `${namedText(named)} is purged: ${removedText(removed)} removed.`, next };
  },
};

const refresh: Action = {
  title: 'Refresh',
  isDangerous: false,
  plan: async () =>
    html`<p>This asks the registry now what the tag points at, however fresh it is. If it has moved, the next pull fetches the new image; what is cached stays until then.</p>`,
  run: async (named, administration, waiting) => {
    const { repositoryId, reference } = named;
    if (reference === undefined || isDigest(reference))
      throw new Problem('invalid-request', 'only a tag can be refreshed');
    const { hasMoved, digest } = await administration.refresh(repositoryId, reference, waiting);
    const notice = hasMoved ? `${namedText(named)} has moved to ${digest}.` : `${namedText(named)} has not moved.`;
    return { notice, next: named };
  },
};

const warm: Action = {
  title: 'Warm',
  isDangerous: false,
  plan: async () =>
    html`<p>This fetches the image from its registry, as a client would pull it. What is stored already is not fetched again.</p>`,
  fields: html`<label for="platform">Platforms</label>
<select id="platform" name="platform">
<option value="linux/amd64">linux/amd64</option><option value="linux/arm64">linux/arm64</option><option value="all">All</option>
</select>
<label class="check"><input type="checkbox" name="referrers" value="yes"> Signatures, SBOMs and attestations as well</label>`,
  run: async (named, { jobs }, { form }) => {
    const { upstream, repository } = named.repositoryId;
    const [registry, platform] = [parseHostName(upstream), form.get('platform') ?? ''];
    const wanted = platform === 'all' ? platform : parsePlatform(platform);
    if (registry === undefined || named.reference === undefined || wanted === undefined)
      throw new Problem('invalid-request', 'this cannot be warmed');
    const images = [{ registry, repository, reference: named.reference }];
    const platforms = wanted === 'all' ? wanted : [wanted];
    jobs.warm({ images, platforms, referrers: form.get('referrers') === 'yes' });
    return { notice: `${namedText(named)} is being fetched; the overview says how far it is.`, next: named };
  },
};

const pin: Action = {
  title: 'Pin',
  isDangerous: false,
  plan: async () =>
    html`<p>What is stored of it now, and what is pulled of it later, is not evicted any more until it is unpinned. A purge still removes it.</p>`,
  run: async (named, { pins }, { signal }) => {
    await pins.add(pinOf(named), { signal });
    return { notice: `${namedText(named)} is pinned.`, next: named };
  },
};

const unpin: Action = {
  title: 'Unpin',
  isDangerous: false,
  plan: async () => html`<p>It may be evicted again when space is needed.</p>`,
  run: async (named, { pins }, { signal }) => {
    await pins.remove(pinOf(named), { signal });
    return { notice: `${namedText(named)} is not pinned any more.`, next: named };
  },
};

const actions: ReadonlyMap<string, Action> = new Map([
  ['pin', pin],
  ['purge', purge],
  ['refresh', refresh],
  ['unpin', unpin],
  ['warm', warm],
]);

/** Asks whether something is meant, and says what it would do. @throws Problem */
export async function confirmPage(word: string, asked: PageRequest, { administration }: PageSources): Promise<Page> {
  const { action, named } = found(word, asked.query.get('image') ?? '');
  const plan = await action.plan(named, administration, asked);
  const title = namedText(named);
  const body = html`<div class="card narrow"><h1>${action.title}?</h1>
<p class="subject">${name(title)}</p>
${plan}
<form method="post" action="/actions/${word}" class="stack">
${action.fields}
<div class="actions">${tokenField(asked.session?.formToken ?? '')}<input type="hidden" name="image" value="${title}">
<button type="submit" class="${action.isDangerous ? 'danger' : 'main'}">${action.title}</button>
<a class="button" href="/browse/${inPath(title)}">Cancel</a></div>
</form></div>`;
  return { title: `${action.title} ${title}`, place: 'browse', body };
}

export interface ActionRequest extends Waiting {
  readonly word: string;
  readonly form: URLSearchParams;
  readonly session: Session;
}

/** Does what a form asks for. @returns where its result is told. @throws Problem */
export async function act(
  { word, form, session, signal }: ActionRequest,
  administration: Administration,
): Promise<string> {
  const { action, named } = found(word, form.get('image') ?? '');
  const { notice, next } = await action.run(named, administration, { form, signal });
  session.notice = notice;
  return next === undefined ? '/browse' : `/browse/${inPath(namedText(next))}`;
}

function found(word: string, image: string): { readonly action: Action; readonly named: Named } {
  const action = actions.get(word);
  if (action === undefined) throw new Problem('unknown-path', 'there is no such action');
  const named = parseNamed(image);
  if (named === undefined) throw new Problem('invalid-request', 'this is not the name of a repository or an image');
  return { action, named };
}

function pinOf(named: Named): Pin {
  const found = parsePin(namedText(named));
  if (found === undefined) throw new Problem('invalid-request', 'this cannot be pinned');
  return found;
}

function targetOf({ repositoryId, reference }: Named): PurgeTarget {
  if (reference === undefined) return { kind: 'repository', repositoryId };
  return isDigest(reference)
    ? { kind: 'digest', repositoryId, digest: reference }
    : { kind: 'tag', repositoryId, tag: reference };
}

function removedText({ tags, manifests, blobs, bytes }: PurgeAnswer['removed']): string {
  const parts = [counted(tags, 'tag'), counted(manifests, 'manifest'), counted(blobs, 'blob')];
  return `${parts.join(', ')} (${bytesText(bytes)})`;
}
