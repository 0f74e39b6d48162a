import { once } from 'node:events';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { makeCertificateFiles } from './certificate-files.ts';
import { thisTest } from './owner.ts';
import { temporaryDirectory } from './temp-directory.ts';

export interface Question {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
}

/** An API server that answers by TLS with these in turn; a number is a status. */
export async function startApiServer(answers: readonly (object | number | string)[], { isTrusted = true } = {}) {
  const folder = await temporaryDirectory();
  const { certFile, keyFile } = await makeCertificateFiles(folder, 'kubernetes');
  const others = await makeCertificateFiles(await temporaryDirectory(), 'others');
  const accountFolder = await temporaryDirectory();
  await copyFile(isTrusted ? certFile : others.certFile, join(accountFolder, 'ca.crt'));
  await writeFile(join(accountFolder, 'token'), 'a-token\n');
  const asked: Question[] = [];
  const tls = { cert: await readFile(certFile), key: await readFile(keyFile) };
  const listener = createServer(tls, (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'https://localhost');
    asked.push({ path: pathname, query: searchParams, authorization: request.headers.authorization });
    const answer = answers[asked.length - 1] ?? 500;
    if (typeof answer === 'number') response.writeHead(answer, { location: 'https://127.0.0.1:1/' }).end();
    else response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  listener.on('tlsClientError', () => {});
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  thisTest(async () => {
    listener.closeAllConnections();
    listener.close();
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has one
  const { port } = listener.address() as AddressInfo;
  return { asked, server: { url: `https://127.0.0.1:${port}`, accountFolder } };
}
