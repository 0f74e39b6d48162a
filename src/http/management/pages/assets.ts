import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Handler } from '../../server/context.ts';

/** Of every page: nothing but the files of this listener, and no script or style in the page itself. */
export const pageHeaders = {
  'Content-Security-Policy':
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  // Forms then still name their origin, which `no-referrer` would hide.
  'Referrer-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Content-Type': 'text/html; charset=utf-8',
} as const;

const types = { 'style.css': 'text/css', 'live.js': 'text/javascript', 'icon.svg': 'image/svg+xml' } as const;

const folder = '/pages/';

interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  readonly tag: string;
}

/** Answers what pages are made with, below `/pages/`. The files are those of the package, and small; they are read once. */
export function pageAssets(): Handler {
  const assets = new Map(Object.entries(types).map(([file, type]) => [`${folder}${file}`, assetIn(file, type)]));
  return (ctx, next) => {
    const asset = assets.get(ctx.path);
    if (asset === undefined || (ctx.method !== 'GET' && ctx.method !== 'HEAD')) return next();
    ctx.set({ ETag: asset.tag, 'Cache-Control': 'no-cache', 'Content-Security-Policy': "default-src 'none'" });
    ctx.status = 200;
    ctx.type = `${asset.type}; charset=utf-8`;
    if (ctx.fresh) ctx.status = 304;
    else ctx.body = asset.bytes;
  };
}

function assetIn(file: string, type: string): Asset {
  const bytes = readFileSync(new URL(`assets/${file}`, import.meta.url));
  return { type, bytes, tag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"` };
}
