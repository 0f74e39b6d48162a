import type { Image, PlatformImage } from '../../api/image-routes.ts';
import { pill, table } from '../drawing/parts.ts';
import { bytesText, counted, percentText, shortDigest } from '../drawing/words.ts';
import { type Content, type Html, html, name } from '../html.ts';
import { inPath } from '../names.ts';
import type { PageRequest } from '../view.ts';

type Layer = PlatformImage['layers'][number];
type Referrer = Image['referrers'][number]['items'][number];

interface LayerRow {
  readonly layer: Layer;
  readonly place: number;
  /** The command that made it, by the history of the image. */
  readonly madeBy: string | undefined;
}

/** The layers of one image, each with what made it. */
export function layersOf(image: PlatformImage, asked: PageRequest): Html {
  const total = image.layers.reduce((sum, { size }) => sum + size, 0);
  const title = image.platform === undefined ? 'Layers' : `Layers for ${image.platform}`;
  return html`<section aria-labelledby="layers"><h2 id="layers">${name(title)}</h2>
${table<LayerRow>({
  caption: 'Layers',
  rows: layerRows(image),
  empty: 'It has no layers.',
  columns: [
    {
      title: 'Layer',
      kind: 'name',
      cell: ({ layer, madeBy, place }) => layerCell(layer, madeBy ?? `Layer ${place + 1}`),
    },
    { title: 'Size', kind: 'number', cell: ({ layer }) => bytesText(layer.size) },
    { title: 'Share', kind: 'wide number', cell: ({ layer }) => (total === 0 ? '–' : percentText(layer.size / total)) },
    ...(asked.isPublic
      ? []
      : [{ title: 'Shared with', kind: 'wide', cell: ({ layer }: LayerRow) => sharedBy(layer) } as const]),
    { title: 'State', kind: 'wide', cell: ({ layer }) => storedPill(layer) },
  ],
})}</section>`;
}

/** A step of the history that made a layer belongs to the next one. Pure. */
function layerRows({ layers, configuration }: Pick<PlatformImage, 'layers' | 'configuration'>): readonly LayerRow[] {
  const steps = (configuration?.history ?? []).filter(({ isEmptyLayer }) => !isEmptyLayer);
  const isComplete = steps.length === layers.length;
  return layers.map((layer, place) => ({ layer, place, madeBy: isComplete ? steps[place]?.createdBy : undefined }));
}

function layerCell({ digest }: Layer, words: string): Html {
  return html`<span class="made">${name(words)}</span> ${shortDigest(digest)}`;
}

function storedPill({ isStored, isForeign }: { readonly isStored: boolean; readonly isForeign?: boolean }): Html {
  if (isForeign === true) return pill('elsewhere', 'calm');
  return isStored ? pill('stored', 'good') : pill('not stored', 'fair');
}

function sharedBy({ sharedBy: { repositories, moreRepositories, images, moreImages } }: Layer): Content {
  const [first, ...others] = repositories;
  const many = others.length + moreRepositories;
  if (first !== undefined) {
    return html`<a href="/browse/${inPath(first)}">${name(first)}</a>${many > 0 && html` <span class="note">and ${counted(many, 'more repository', 'more repositories')}</span>`}`;
  }
  const count = images.length + moreImages;
  return count === 0 ? '–' : counted(count, 'other image');
}

/** What the image says of itself. */
export function labelsOf({ annotations, image }: Image): Html {
  const said = { ...annotations, ...image?.annotations, ...image?.configuration?.labels };
  const entries = Object.entries(said);
  if (entries.length === 0) return html``;
  return html`<section aria-labelledby="labels" class="card"><h2 id="labels">Labels</h2>
<p class="note">As the image says; nobody has checked them.</p>
<dl class="facts wide-facts">${entries.map(([label, value]) => html`<div><dt>${name(label)}</dt><dd>${name(value)}</dd></div>`)}</dl></section>`;
}

/** Signatures, SBOMs and the like. */
export function referrersOf({ referrers, name: repository }: Image, { base }: PageRequest): Html {
  const rows = referrers.flatMap(({ items }) => items);
  if (rows.length === 0) return html``;
  return html`<section aria-labelledby="referrers"><h2 id="referrers">Signatures, SBOMs and other referrers</h2>
${table<Referrer>({
  caption: 'Referrers',
  rows,
  empty: '',
  columns: [
    {
      title: 'Kind',
      kind: 'name',
      cell: ({ kind, digest, isStored }) =>
        html`${isStored ? html`<a href="${base}/${inPath(`${repository}@${digest}`)}">${kind}</a>` : kind} ${shortDigest(digest)}`,
    },
    { title: 'Type', kind: 'wide', cell: ({ artifactType, mediaType }) => name(artifactType ?? mediaType) },
    { title: 'Size', kind: 'number', cell: ({ size }) => bytesText(size) },
    { title: 'State', cell: storedPill },
  ],
})}</section>`;
}
