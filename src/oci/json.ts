/** A JSON object with unchecked fields. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Parses JSON from another party.
 * @returns undefined when it is not JSON. The error of JSON.parse is dropped: it quotes the text, which may hold a secret.
 */
export function parseJson(json: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof json === 'string' ? json : textOf(json));
  } catch {
    return undefined;
  }
}

/** @returns undefined when it is not a JSON object. */
export function parseJsonObject(json: string | Uint8Array): JsonObject | undefined {
  const value = parseJson(json);
  return isJsonObject(value) ? value : undefined;
}

/** Does not copy the bytes. */
function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('utf8');
}
