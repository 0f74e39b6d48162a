import { isJsonObject, parseJson } from '../../oci/json.ts';
import type { StateFile } from '../../storage/filesystem/state-file.ts';
import type { Position } from '../queue/log-lines.ts';

export interface PositionsDeps {
  readonly file: Pick<StateFile, 'read' | 'write'>;
  /** Where each webhook is now. */
  readonly now: () => ReadonlyMap<string, Position>;
  readonly onFailed: (cause: unknown) => void;
  /** For tests. */
  readonly saveEveryMs?: number;
}

const usuallySaveEveryMs = 1_000;

/** How far each webhook has got, in a file that outlives the process. After a crash some events may be sent again, with the same id. */
export class Positions {
  readonly #deps: PositionsDeps;
  #saving: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: PositionsDeps) {
    this.#deps = deps;
  }

  /** @returns undefined if there is no file, or nothing can be learnt from it. */
  async load(): Promise<ReadonlyMap<string, Position> | undefined> {
    try {
      const bytes = await this.#deps.file.read();
      return bytes && positionsIn(bytes);
    } catch (cause) {
      this.#deps.onFailed(cause);
      return undefined;
    }
  }

  /** Writes where the webhooks are, soon: each write is synced, and a webhook may move a thousand times a second. */
  save(): void {
    this.#timer ??= setTimeout(() => void this.flush(), this.#deps.saveEveryMs ?? usuallySaveEveryMs).unref();
  }

  /** Writes where they are now. Resolves when that is written, or could not be. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#saving = this.#saving.then(() => this.#write());
    return this.#saving;
  }

  async #write(): Promise<void> {
    const { file, now, onFailed } = this.#deps;
    await file.write(Buffer.from(JSON.stringify(Object.fromEntries(now())))).catch(onFailed);
  }
}

/** Undefined if it is not such a file. Pure. */
function positionsIn(bytes: Buffer): ReadonlyMap<string, Position> | undefined {
  const value = parseJson(bytes);
  if (!isJsonObject(value)) return undefined;
  const positions = new Map<string, Position>();
  for (const [name, position] of Object.entries(value)) {
    if (!isJsonObject(position)) continue;
    const { segment, offset } = position;
    if (isCount(segment) && isCount(offset)) positions.set(name, { segment, offset });
  }
  return positions;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
