import { readFile } from 'node:fs/promises';
import { abortable } from '../../mirror/concurrency/abortable-wait.ts';
import { upstreams as upstreamsSchema } from '../../http/management/api/schemas.ts';
import { answerAs, type Api, ApiFailure, exitCodes, failure, printable } from '../api/client.ts';
import { type ApiServer, ApiServerFailure, apiServerIn } from '../kubernetes/api-server.ts';
import { podImages } from '../kubernetes/pod-images.ts';
import { fullNames, namesIn, ofUpstreams } from './image-list.ts';

/** Where the names of images come from. */
export interface WarmSources {
  readonly images: readonly string[];
  /** A list of images; `-` is the standard input. */
  readonly listFile: string | undefined;
  /** Whether the images of the cluster's pods are wanted. */
  readonly kubernetes: boolean;
  readonly stdin: () => AsyncIterable<Uint8Array | string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly printError: (text: string) => void;
  readonly stop: AbortSignal;
  /** By default that of the cluster that this process runs in. */
  readonly apiServer?: ApiServer;
}

export interface WantedImages {
  /** Full names, each once. */
  readonly images: readonly string[];
  /** Images of pods that no upstream of the mirror has. */
  readonly others: readonly string[];
}

const maxListBytes = 4 * 1024 * 1024;
const mostNamed = 20_000;

/** @throws ApiFailure when a name is wrong, a list cannot be read, or nothing is named. */
export async function wantedImages(api: Api, sources: WarmSources): Promise<WantedImages> {
  const { images: given, listFile, kubernetes } = sources;
  const listed = listFile === undefined ? [] : namesIn(await listIn(listFile, sources));
  const named = fullNames([...given, ...listed]);
  if (named.problems.length > 0) throw failure(['these are no names of images:', ...named.problems].join('\n  '));
  const ofPods = kubernetes ? await imagesOfPods(api, sources) : { images: [], others: [] };
  const images = [...new Set([...named.images, ...ofPods.images])];
  if (images.length > mostNamed) throw failure(`more than ${mostNamed} images are named`);
  if (images.length === 0 && !kubernetes) throw failure('no image is named: name some, or use --file or --kubernetes');
  return { images, others: ofPods.others };
}

async function imagesOfPods(api: Api, sources: WarmSources): Promise<WantedImages> {
  const { env, stop, printError, apiServer: server = apiServerIn(env) } = sources;
  if (!server) throw failure('--kubernetes needs the service account of a pod: run this in the cluster');
  const upstreams = answerAs(upstreamsSchema, await api('upstreams'));
  const names = await podImages(server, { signal: stop }).catch((cause: unknown) => {
    if (!(cause instanceof ApiServerFailure)) throw cause;
    const hint = cause.status === 403 ? ': the service account may not list pods' : '';
    throw new ApiFailure(exitCodes.failed, `--kubernetes: ${cause.message}${hint}`, { cause });
  });
  const found = ofUpstreams(
    names,
    upstreams.items.map(({ name }) => name),
  );
  for (const other of found.others) printError(`${printable(other)}: skipped, no upstream of the mirror has it\n`);
  return found;
}

async function listIn(file: string, { stdin, stop }: WarmSources): Promise<string> {
  if (file === '-') return abortable(readAll(stdin()), stop);
  try {
    const text = await readFile(file, 'utf8');
    if (text.length <= maxListBytes) return text;
  } catch (cause) {
    throw failure(`--file: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  throw tooLong();
}

async function readAll(stdin: AsyncIterable<Uint8Array | string>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of stdin) {
    text += typeof piece === 'string' ? piece : decoder.decode(piece, { stream: true });
    if (text.length > maxListBytes) throw tooLong();
  }
  return text;
}

function tooLong(): ApiFailure {
  return failure(`--file: the list is larger than ${maxListBytes / 1024 ** 2} MiB`);
}
