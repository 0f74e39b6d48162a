/**
 * Looks at the pages in a real Chromium: what axe-core finds, the keyboard, pages without JavaScript, live updates, a purge. Runs as
 * `npm run test:pages`; with `--images` it writes the screenshots of docs/images.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { ask } from '../support/client.ts';
import { openContext, startBrowser } from './browser.ts';
import { type ExampleMirror, startExampleMirror, token } from './example-mirror.ts';

const paths = {
  overview: '/',
  browse: '/browse',
  tags: '/browse?list=tags',
  repository: '/browse/docker.io/library/nginx',
  image: '/browse/docker.io/library/nginx:1.27',
  confirmation: '/confirm/purge?image=docker.io%2Flibrary%2Fnginx%3A1.25',
  start: '/start',
} as const;
const looks = [
  { scheme: 'light', width: 1280, height: 800 },
  { scheme: 'dark', width: 1280, height: 800 },
  { scheme: 'light', width: 360, height: 740 },
  { scheme: 'dark', width: 360, height: 740 },
  { scheme: 'light', width: 3840, height: 2160 },
] as const;
const images = join(import.meta.dirname, '../../docs/images');
const writesImages = process.argv.includes('--images');

const results: string[] = [];
let failures = 0;

/** Notes whether something holds. */
function check(what: string, holds: boolean, found?: unknown): void {
  if (!holds) failures += 1;
  results.push(`${holds ? 'ok  ' : 'FAIL'} ${what}${holds || found === undefined ? '' : `: ${JSON.stringify(found)}`}`);
}

async function signedIn(page: Page, { managementUrl }: ExampleMirror): Promise<void> {
  await page.goto(`${managementUrl}/login`);
  await page.fill('#token', token);
  await page.press('#token', 'Enter');
  await page.waitForSelector('h1:text("Overview")');
}

async function checkLooks(browser: Browser, mirror: ExampleMirror): Promise<void> {
  const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const look of looks) {
    await using context = await openContext(browser, look);
    const page = await context.newPage();
    const problems: string[] = [];
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('pageerror', (error) => problems.push(error.message));
    await signedIn(page, mirror);
    for (const [name, path] of Object.entries(paths)) {
      const where = `${name}, ${look.scheme}, ${look.width} px`;
      await page.goto(`${mirror.managementUrl}${path}`);
      await page.waitForLoadState('load');
      await page.evaluate(axe);
      const found: unknown = await page.evaluate(
        'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id} ${nodes[0].html}`))',
      );
      check(`axe finds nothing: ${where}`, Array.isArray(found) && found.length === 0, found);
      const overflow: unknown = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      check(`nothing is cut at the side: ${where}`, overflow === 0, overflow);
      if (writesImages) await writeImage(page, name, look);
    }
    check(`the console is silent: ${look.scheme}, ${look.width} px`, problems.length === 0, problems);
  }
}

/** What README.md and docs/pages.md show. */
const pictured: ReadonlySet<string> = new Set(['overview-light', 'overview-dark', 'image-light']);

async function writeImage(page: Page, name: string, { scheme, width }: (typeof looks)[number]): Promise<void> {
  if (!pictured.has(`${name}-${scheme}`) || width !== looks[0].width) return;
  await mkdir(images, { recursive: true });
  const path = join(images, `${name}-${scheme}-desktop.png`);
  await page.screenshot({ path, scale: 'css', clip: { x: 0, y: 0, width, height: 620 } });
}

/** From the top of the page with Tab and Enter alone. */
async function checkKeyboard(browser: Browser, mirror: ExampleMirror): Promise<void> {
  await using context = await openContext(browser, looks[0]);
  const page = await context.newPage();
  await signedIn(page, mirror);
  await page.goto(`${mirror.managementUrl}/browse`);
  await page.keyboard.press('Tab');
  const focused = () => page.evaluate('document.activeElement.textContent.trim()');
  check('keyboard: the first stop skips to the content', (await focused()) === 'Skip to the content');
  await page.keyboard.press('Enter');
  check('keyboard: the content has the focus', (await page.evaluate('document.activeElement.id')) === 'content');
  let stops = 0;
  while ((await focused()) !== 'library/nginx' && stops < 60) {
    await page.keyboard.press('Tab');
    stops += 1;
    const outline: unknown = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle');
    if (outline === 'none') check('keyboard: every stop can be seen', false, await focused());
  }
  check('keyboard: a repository is reached', stops < 60);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/browse/docker.io/library/nginx');
  check('keyboard: and opened', true);
}

async function checkPurge(browser: Browser, mirror: ExampleMirror, hasScripts: boolean): Promise<void> {
  const tag = hasScripts ? '1.25' : 'latest';
  const how = hasScripts ? 'with JavaScript' : 'without JavaScript';
  await using context = await openContext(browser, { ...looks[0], hasScripts });
  const page = await context.newPage();
  await signedIn(page, mirror);
  await page.goto(`${mirror.managementUrl}/browse`);
  await page.fill('#filter-text', 'nginx');
  await page.press('#filter-text', 'Enter');
  await page.click('th a:has-text("library/nginx")');
  await page.click(`th a:has-text("${tag}")`);
  await page.click('a:text("Purge…")');
  await page.waitForSelector('text=This removes');
  await page.click('button:text-is("Purge")');
  await page.waitForSelector('.notice');
  check(
    `a tag is filtered, opened and purged ${how}`,
    (await page.textContent('.notice'))?.includes(`nginx:${tag} is purged`) ?? false,
  );
  check(`it is gone from the list ${how}`, (await page.locator(`th a:has-text("${tag}")`).count()) === 0);
}

async function checkLive(browser: Browser, mirror: ExampleMirror): Promise<void> {
  await using context = await openContext(browser, looks[0]);
  const page = await context.newPage();
  await page.goto(mirror.managementUrl);
  await page.waitForSelector('.pulse.on');
  const requests = () => page.textContent('.figure .note');
  const before = await requests();
  await ask(mirror.app, '/v2/library/node/manifests/22');
  for (let looked = 0; looked < 50 && (await requests()) === before; looked += 1) await page.waitForTimeout(200);
  check('the overview follows a pull without being loaded again', (await requests()) !== before);
}

async function checkSort(browser: Browser, mirror: ExampleMirror): Promise<void> {
  await using context = await openContext(browser, looks[0]);
  const page = await context.newPage();
  await page.goto(`${mirror.managementUrl}/browse`);
  await page.selectOption('#filter-sort', 'name');
  await page.waitForURL('**sort=name**');
  const names = await page.locator('th.name a').allTextContents();
  check('a choice sorts at once', names.length > 5, names);
}

const cleanUps: (() => Promise<void>)[] = [];
const owner = (cleanUp: () => Promise<void>): void => void cleanUps.push(cleanUp);
try {
  const mirror = await startExampleMirror(owner);
  const browser = await startBrowser(owner);
  await checkLooks(browser, mirror);
  await checkKeyboard(browser, mirror);
  await checkLive(browser, mirror);
  await checkSort(browser, mirror);
  for (const hasScripts of [true, false]) await checkPurge(browser, mirror, hasScripts);
} finally {
  process.stdout.write(`${results.join('\n')}\n${results.length - failures} of ${results.length} hold\n`);
  for (const cleanUp of cleanUps.toReversed()) await cleanUp();
}
process.exitCode = failures === 0 ? 0 : 1;
