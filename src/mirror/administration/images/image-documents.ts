import { z } from 'zod';
import { isDigest } from '../../../oci/digest.ts';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../../oci/json.ts';
import { isDescriptor, maxParsedBytes } from '../../../oci/manifest.ts';

/** How much of what an image says about itself is told: nobody has checked it. */
const most = { texts: 100, nameLength: 256, textLength: 2_048, steps: 200, layers: 1_000 };

/** Of a config with a long history; parsing so much blocks the event loop for some 10 ms. */
export const maxConfigBytes = maxParsedBytes;

/** A text of at most so many characters. Pure. */
export function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1).toWellFormed()}…` : text;
}

/** A field that is of another type counts as absent. */
function perhaps<Schema extends z.ZodType>(schema: Schema) {
  return schema.optional().catch(undefined);
}

const text = (length = most.textLength) => z.string().transform((value) => cut(value, length));
/** Years of four digits. */
const [earliestMs, latestMs] = [Date.UTC(1, 0, 1), Date.UTC(9999, 11, 31)];
const time = z
  .string()
  .max(64)
  .transform((value) => Date.parse(value))
  .refine((ms) => ms >= earliestMs && ms <= latestMs);

/** Labels and annotations. */
const texts = z
  .unknown()
  .prefault(null)
  .transform((value): Readonly<Record<string, string>> => {
    const entries = isJsonObject(value) ? Object.entries(value).slice(0, most.texts) : [];
    const told = entries.flatMap(([name, one]) =>
      typeof one === 'string' ? [[cut(name, most.nameLength), cut(one, most.textLength)] as const] : [],
    );
    return Object.fromEntries(told);
  });

/** The items of a list that are as they should be. */
function list<Item extends z.ZodType>(item: Item, length: number) {
  return z
    .unknown()
    .prefault(null)
    .transform((value) =>
      (Array.isArray(value) ? value.slice(0, length) : []).flatMap((one: unknown) => {
        const { data, success } = item.safeParse(one);
        return success ? [data] : [];
      }),
    );
}

const step = z.object({
  created: perhaps(time),
  created_by: perhaps(text()),
  comment: perhaps(text()),
  empty_layer: z.boolean().catch(false).prefault(false),
});

/** OCI image-spec, "Image Configuration". */
const config = z.object({
  created: perhaps(time),
  os: perhaps(text(most.nameLength)),
  architecture: perhaps(text(most.nameLength)),
  variant: perhaps(text(most.nameLength)),
  author: perhaps(text(most.nameLength)),
  config: z.object({ Labels: texts }).catch({ Labels: {} }).prefault({ Labels: {} }),
  history: list(step, most.steps),
});

const layer = z.custom<JsonObject>(isDescriptor).transform((descriptor) => {
  const { digest, mediaType, size, urls, annotations } = descriptor;
  const predicateType = isJsonObject(annotations) ? annotations['in-toto.io/predicate-type'] : undefined;
  if (!isDigest(digest)) return z.NEVER;
  return {
    digest,
    mediaType: cut(String(mediaType), most.nameLength),
    size: Number(size),
    isForeign: urls !== undefined,
    /** What an attestation of BuildKit says in it. */
    predicateType: typeof predicateType === 'string' ? cut(predicateType, most.nameLength) : undefined,
  };
});

/** OCI image-spec, "Image Manifest" and "Image Index". */
const manifest = z.object({
  artifactType: perhaps(text(most.nameLength)),
  config: perhaps(layer),
  layers: list(layer, most.layers),
  manifests: list(layer, most.layers),
  subject: perhaps(layer),
  annotations: texts,
});

export type ConfigFacts = z.output<typeof config>;
export type ManifestFacts = z.output<typeof manifest>;
export type LayerFacts = z.output<typeof layer>;

/** @returns undefined if it is no config of an image. Pure. */
export function configFactsOf(bytes: Uint8Array): ConfigFacts | undefined {
  return config.safeParse(parseJsonObject(bytes)).data;
}

/** @returns undefined if it is no manifest, or one that is too large to be parsed. Pure. */
export function manifestFactsOf(bytes: Uint8Array): ManifestFacts | undefined {
  return bytes.byteLength > maxParsedBytes ? undefined : manifest.safeParse(parseJsonObject(bytes)).data;
}

export type ReferrerKind = 'signature' | 'sbom' | 'provenance' | 'attestation' | 'other';

/** What an artifact is, by the type that it claims and what its annotations say. Pure. */
export function referrerKindOf(artifactType: string, annotations: unknown): ReferrerKind {
  const { predicateType } = isJsonObject(annotations)
    ? { predicateType: annotations['dev.sigstore.bundle.predicateType'] }
    : {};
  const words = `${artifactType} ${typeof predicateType === 'string' ? predicateType : ''}`.toLowerCase();
  if (/spdx|cyclonedx|sbom|syft/.test(words)) return 'sbom';
  if (/slsa|provenance/.test(words)) return 'provenance';
  if (/in-toto|attestation|\.att\b/.test(words)) return 'attestation';
  return /signature|cosign|sigstore|notary|\.sig\b/.test(words) ? 'signature' : 'other';
}
