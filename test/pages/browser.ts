import { type Browser, type BrowserContext, chromium } from 'playwright-core';
import type { Owner } from '../support/owner.ts';

/** Of a Debian package; it asks for nothing outside of this machine. */
const executablePath = '/usr/bin/chromium';
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function startBrowser(owner: Owner): Promise<Browser> {
  const browser = await chromium.launch({ executablePath, args, headless: true });
  owner(() => browser.close());
  return browser;
}

export interface Look {
  readonly scheme: 'light' | 'dark';
  readonly width: number;
  readonly height: number;
  readonly hasScripts?: boolean;
}

export async function openContext(
  browser: Browser,
  { scheme, width, height, hasScripts = true }: Look,
): Promise<BrowserContext> {
  return browser.newContext({
    colorScheme: scheme,
    viewport: { width, height },
    javaScriptEnabled: hasScripts,
    reducedMotion: 'reduce',
  });
}
