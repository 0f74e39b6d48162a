import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { freePort } from './free-port.ts';
import { thisTest } from './owner.ts';

/** How it leaks a secret that it received. */
export const betrayals = [
  '200',
  '400',
  '401',
  '403',
  '404',
  '429',
  '500',
  '503',
  'redirect',
  'not-http',
  'hang-up',
  'garbled',
  'half',
] as const;

/**
 * A registry, a token endpoint and an API that repeat everything they hear, in their headers, their bodies and where they redirect to.
 *
 *     /basic/<betrayal>/v2/…   requires the password, and leaks it
 *     /bearer/<betrayal>/v2/…  requires a token from a realm that leaks the password
 *     /late/<betrayal>/v2/…    issues a token for the password, and leaks it
 *     /api/<betrayal>/…        leaks every request
 *
 * @returns its URL.
 */
export async function startEcho(issuedToken: string): Promise<{ readonly url: string; readonly heard: () => number }> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  let heard = 0;
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { pathname } = new URL(request.url ?? '/', url);
      const [, door = '', betrayal = ''] = pathname.split('/');
      const isLogin = door === 'login';
      if (isLogin) return void response.end(JSON.stringify({ token: issuedToken }));
      const isAnonymous = request.headers.authorization === undefined && door !== 'realm' && door !== 'api';
      if (isAnonymous) {
        const realm = { bearer: `${url}/realm/${betrayal}`, late: `${url}/login/x` }[door];
        const challenge = realm === undefined ? 'Basic realm="r"' : `Bearer realm="${realm}",service="s"`;
        return void response.writeHead(401, { 'www-authenticate': challenge }).end();
      }
      heard += 1;
      const shown = Buffer.from((request.headers.authorization ?? '').replace(/^\w+ /, ''), 'base64').toString(
        'latin1',
      );
      const echo = [request.headers.authorization, shown.replace(/[^\x20-\x7e]/g, ''), body, request.url].join(' ');
      betray(betrayal, echo.replace(/[\r\n]/g, ' '), response);
    });
  });
  await once(server.listen(port, '127.0.0.1'), 'listening');
  thisTest(async () => {
    server.close();
    server.closeAllConnections();
  });
  return { url, heard: () => heard };
}

function betray(betrayal: string, echo: string, response: ServerResponse): void {
  const { socket } = response;
  switch (betrayal) {
    case 'redirect':
      return void response
        .writeHead(307, { location: `http://127.0.0.1:1/?X-Amz-Signature=${encodeURIComponent(echo)}` })
        .end();
    case 'not-http':
      return void socket?.end(`${echo}\r\n\r\n`);
    case 'hang-up':
      return void socket?.destroy();
    case 'garbled':
      // Node's parser quotes what it stumbles over.
      return void socket?.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n${echo}\r\n`);
    case 'half':
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100000' }).write(echo);
      return void setImmediate(() => socket?.destroy());
    default: {
      const challenge = `Bearer realm="r",error="invalid_token",error_description="${encodeURIComponent(echo)}"`;
      const headers = { 'content-type': 'application/json', 'www-authenticate': challenge, 'x-echo': echo };
      const body = JSON.stringify({
        errors: [{ code: echo, message: echo, detail: echo }],
        __type: echo,
        message: echo,
      });
      return void response.writeHead(Number(betrayal) || 407, headers).end(body);
    }
  }
}
