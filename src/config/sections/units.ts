const msByUnit = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

const bytesByUnit: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/**
 * `"90s"` is 90_000, `"1h30m"` is 5_400_000: whole numbers with the units d, h, m, s and ms, the largest first.
 * @returns milliseconds, or undefined when `text` is no such duration.
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const parts = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(text);
  if (parts === null || text === '') return undefined;
  const scales = Object.values(msByUnit);
  return safeOrNothing(scales.reduce((sum, scale, i) => sum + Number(parts[i + 1] ?? 0) * scale, 0));
}

/**
 * `"50GiB"` is 50 * 1024 ** 3, `"500MB"` is 500_000_000: a whole number with one unit. `"0"` needs none.
 * @returns bytes, or undefined when `text` is no such size.
 */
export function parseSize(text: string): number | undefined {
  if (text === '0') return 0;
  const [, amount, unit] = /^(\d+)([kMGT]?B|[KMGT]iB)$/.exec(text) ?? [];
  const scale = bytesByUnit[unit ?? ''];
  return scale === undefined ? undefined : safeOrNothing(Number(amount) * scale);
}

function safeOrNothing(amount: number): number | undefined {
  return Number.isSafeInteger(amount) ? amount : undefined;
}
