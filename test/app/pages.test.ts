import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { askApi } from '../support/api-answers.ts';
import { ask, open } from '../support/client.ts';
import { startPages, token } from '../support/start-pages.ts';
import { formTokenIn, Visitor } from '../support/visitor.ts';

const policy =
  "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

test('the overview says the hit ratio, what was served and saved, the upstreams with their rate limits, and the disk', async () => {
  const { app, visitor } = await startPages();
  for (let pull = 0; pull < 4; pull += 1) await ask(app, '/v2/library/app/manifests/1');
  const { status, headers, text } = await visitor.get('/');
  expect(status).toBe(200);
  expect(headers['content-type']).toBe('text/html; charset=utf-8');
  expect(text).toContain('75.0 %');
  expect(text).toMatch(/docker\.io.*reachable.*76 of 100/s);
  expect(text).toContain('of 50.0 GiB');
  expect(text).toMatch(/<a href="\/" aria-current="page">Overview<\/a>/);
});

test('a page has a strict policy and no script or style in it', async () => {
  const { visitor } = await startPages();
  for (const path of ['/', '/start', '/login', '/browse/nothing']) {
    const { headers, text } = await visitor.get(path);
    expect(headers).toMatchObject({
      'content-security-policy': policy,
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    });
    expect(text).not.toMatch(/<style|style="|<script(?! src="\/pages\/live\.js" defer>)| on\w+="|javascript:/);
    expect(text.match(/(?:src|href|action)="(?!\/|#)[^"]*"/g)).toBeNull();
    expect(text).toMatch(/<html lang="en">.*<a class="skip" href="#content">.*<main id="content"/s);
  }
});

test('style, script and icon are files of the package, and are asked for again by their tag', async () => {
  const { visitor } = await startPages();
  for (const [file, type] of [
    ['style.css', 'text/css'],
    ['live.js', 'text/javascript'],
    ['icon.svg', 'image/svg+xml'],
  ]) {
    const { status, headers, text } = await visitor.get(`/pages/${file}`);
    expect({ status, type: headers['content-type'] }).toEqual({ status: 200, type: `${type}; charset=utf-8` });
    expect(text.length).toBeGreaterThan(100);
    const again = await visitor.get(`/pages/${file}`, { 'if-none-match': headers.etag ?? '' });
    expect(again).toMatchObject({ status: 304, text: '' });
  }
  expect((await visitor.get('/pages/other.css')).status).toBe(404);
});

test('getting started names the host that the page was opened by and the port of the clients, whatever the Host is', async () => {
  const { app, visitor } = await startPages({ hosts: ['mirror.test'] });
  const { port } = new URL(app.url);
  const opened = async (host: string) => (await visitor.get('/start', { host })).text;
  expect(await opened('mirror.test:5001')).toContain(`docker pull mirror.test:${port}/docker.io/library/alpine`);
  expect(await opened('[::1]:5001')).toContain(`docker pull [::1]:${port}/docker.io/`);
  expect(await opened('10.0.0.7')).toContain(`[host.&quot;http://10.0.0.7:${port}&quot;]`);
  const evil = await visitor.get('/start', { host: '<script>alert(1)</script>' });
  expect(evil).toMatchObject({ status: 403, text: expect.not.stringContaining('<script>alert') });
});

test('names of the configuration stay text', async () => {
  const { visitor } = await startPages();
  expect((await visitor.get('/')).text).toContain('<bdi>*.evil.test</bdi>');
  const { text } = await visitor.get('/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E');
  expect(text).not.toContain('<script>alert');
});

test('on a loopback address pages are read without a session, and beyond it they lead to the sign-in and back', async () => {
  const open = await startPages({ host: '0.0.0.0' });
  const refused = await open.visitor.get('/start?a=b');
  expect(refused).toMatchObject({ status: 303, headers: { location: '/login?next=%2Fstart%3Fa%3Db' } });
  expect((await open.visitor.get('/pages/live')).status).toBe(401);
  expect((await open.visitor.get('/login?next=/start')).text).toContain('name="next" value="/start"');
  const signedIn = await open.visitor.signIn(token, '/start?a=b');
  expect(signedIn).toMatchObject({ status: 303, headers: { location: '/start?a=b' } });
  expect((await open.visitor.get('/start')).status).toBe(200);
});

test('a browser keeps the id of a session in a cookie that no other site and no script gets, and never the token', async () => {
  const { visitor } = await startPages();
  const { headers } = await visitor.signIn(token);
  const [cookie = ''] = headers['set-cookie'] ?? [];
  expect(cookie).toMatch(/^layerwell_\d+=[\w-]{43}; Path=\/; Max-Age=43200; HttpOnly; SameSite=Strict$/);
  expect(cookie).not.toContain(token);
  const behindTls = await visitor.post('/login', { token }, { origin: visitor.url.replace('http:', 'https:') });
  expect(behindTls.headers['set-cookie']?.[0]).toMatch(/; Secure$/);
});

test('a wrong token is told, and keeps the page to go back to', async () => {
  const { visitor } = await startPages();
  const { status, headers, text } = await visitor.signIn('b'.repeat(40), '/start');
  expect(status).toBe(401);
  expect(headers['set-cookie']).toBeUndefined();
  expect(text).toMatch(/role="alert">This is not the token\.</);
  expect(text).toContain('name="next" value="/start"');
  expect(text).not.toContain('bbbb');
});

test('without a configured token the sign-in names the key', async () => {
  const { visitor } = await startPages({ tokenFile: undefined });
  expect((await visitor.get('/login')).text).toContain('tokenFile');
  expect(await visitor.signIn(token)).toMatchObject({ status: 401, text: expect.stringContaining('tokenFile') });
});

test('signing out ends the session, and so does another token', async () => {
  const { visitor, tokenFile } = await startPages({ host: '0.0.0.0' });
  await visitor.signIn(token);
  const { cookie } = visitor;
  const form = formTokenIn(await visitor.get('/'));
  expect(await visitor.post('/logout', { form })).toMatchObject({ status: 303, headers: { location: '/' } });
  expect((await visitor.get('/', { cookie })).status).toBe(303);
  await visitor.signIn(token);
  expect((await visitor.get('/')).status).toBe(200);
  await writeFile(tokenFile, 'c'.repeat(40));
  expect((await visitor.get('/')).status).toBe(303);
});

test('a form of another site, or without the form token of the session, does nothing', async () => {
  const { visitor } = await startPages();
  await visitor.signIn(token);
  const form = formTokenIn(await visitor.get('/'));
  expect(form).not.toBe('');
  for (const headers of [{ origin: 'http://evil.test' }, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }]) {
    expect((await visitor.post('/logout', { form }, headers)).status).toBe(403);
  }
  for (const wrong of ['', 'x', form.slice(1)])
    expect((await visitor.post('/logout', { form: wrong })).status).toBe(403);
  const other = new Visitor(visitor.url);
  await other.signIn(token);
  expect((await other.post('/logout', { form })).status).toBe(403);
  expect(formTokenIn(await visitor.get('/'))).toBe(form);
  const signedOut = new Visitor(visitor.url);
  expect(await signedOut.post('/logout', { form })).toMatchObject({
    status: 303,
    headers: { location: '/login?next=%2F' },
  });
});

test('a link of another site leads to a page, but nothing else of another site uses one', async () => {
  const { visitor } = await startPages();
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
  expect((await visitor.get('/', link)).status).toBe(200);
  expect((await visitor.get('/', { ...link, 'sec-fetch-mode': 'no-cors' })).status).toBe(403);
  expect((await visitor.get('/pages/live', { ...link, 'sec-fetch-mode': 'cors' })).status).toBe(403);
  expect((await visitor.get('/', { host: 'evil.test' })).status).toBe(403);
});

test('the API takes no cookie, and a wrong method, path or body is a page that says so', async () => {
  const at = await startPages();
  const { visitor } = at;
  await visitor.signIn(token);
  const headers = { cookie: visitor.cookie, origin: visitor.url };
  expect((await askApi(at, '/api/v1/reload', { method: 'POST', headers })).status).toBe(401);
  const form = formTokenIn(await visitor.get('/'));
  expect(await visitor.post('/start', { form })).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  expect((await visitor.post('/actions/nothing', { form })).status).toBe(404);
  expect((await visitor.get('/actions')).status).toBe(404);
  expect((await visitor.post('/logout', { form, more: 'x'.repeat(64 * 1024) })).status).toBe(413);
  expect((await visitor.post('/logout', { form }, { 'content-type': 'text/plain' })).status).toBe(400);
});

test('a page follows what happens, and the end of the mirror ends its stream', async () => {
  const { app, visitor } = await startPages();
  const stream = await open({ url: visitor.url }, '/pages/live');
  let text = '';
  while (!text.includes('data: ')) text += (await stream.read(1)).toString();
  expect(text).toContain('of 0 requests for content');
  const rest = stream.rest();
  await app.stop();
  await rest;
});

test('pages can be switched off, and the API stays', async () => {
  const at = await startPages({ pages: 'off' });
  for (const path of ['/', '/start', '/login', '/pages/style.css'])
    expect((await at.visitor.get(path)).status).toBe(404);
  expect((await askApi(at, '/api/v1/stats')).status).toBe(200);
});
