import type { Digest } from '../../src/oci/digest.ts';
import type { Image } from '../images.ts';
import type { ServerProcess } from '../server-process.ts';
import type { Tools } from '../tools.ts';

export type ContenderName = 'Layerwell' | 'distribution proxy' | 'zot' | 'nginx' | 'bare Koa' | 'upstream';

/** One of the servers that are compared. All serve the same paths. */
export interface Contender extends ServerProcess {
  readonly name: ContenderName;
  /** `http://host:port`, without a slash at the end. */
  readonly url: string;
  /** It copies the whole image when its manifest is requested, so that a cold pull begins with the manifest. */
  readonly copiesWholeImages?: true;
}

/** What every contender needs to start. */
export interface Site {
  readonly tools: Tools;
  /** The program to start as Layerwell, relative to the repository root. */
  readonly program: string;
  /** For its configuration, store and log. */
  readonly folder: string;
  /** The only environment variable that servers get. */
  readonly searchPath: string;
  /** A command before the program of a server, which keeps it on its processors. */
  readonly pinnedBy?: readonly string[];
  readonly signal: AbortSignal;
}

export function blobUrl(server: Contender, image: Image, digest: Digest = image.layer.digest): string {
  return `${server.url}/v2/${image.repository}/blobs/${digest}`;
}

export function manifestUrl(server: Contender, image: Image, by: 'tag' | 'digest'): string {
  return `${server.url}/v2/${image.repository}/manifests/${by === 'tag' ? image.tag : image.manifest.digest}`;
}
