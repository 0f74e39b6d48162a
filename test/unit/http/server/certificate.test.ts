import { copyFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Certificate, type CertificateBytes } from '../../../../src/http/server/certificate.ts';
import { makeCertificateFiles } from '../../../support/certificate-files.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';
import { selfSigned } from '../../upstream/certificates.ts';

async function started() {
  const folder = await temporaryDirectory();
  const files = { certFile: join(folder, 'tls.crt'), keyFile: join(folder, 'tls.key') };
  const write = async ({ certificate, key }: { readonly certificate: string; readonly key: string }) => {
    await writeFile(files.certFile, certificate);
    await writeFile(files.keyFile, key);
  };
  const [first, second] = [await selfSigned('first'), await selfSigned('second')];
  await write(first);
  const problems: string[] = [];
  const report = (cause: unknown) => void problems.push(String(cause));
  const certificate = new Certificate(files, { report, pollEveryMs: 5 });
  onTestFinished(() => certificate.close());
  const renewals: CertificateBytes[] = [];
  const watch = () => certificate.onRenewed((renewed) => renewals.push(renewed));
  return { certificate, files, write, first, second, problems, renewals, watch };
}

test('a renewal between the start of the process and that of its listener is used', async () => {
  const { certificate, write, second, renewals, watch, problems } = await started();
  await write(second);
  watch();
  await expect.poll(() => renewals).toHaveLength(1);
  expect(certificate.current().cert.toString()).toBe(second.certificate);
  expect(problems).toEqual([]);
});

test('what cannot be used is told once, in words, and changes nothing until it can be', async () => {
  const { certificate, files, first, second, problems, renewals, watch } = await started();
  watch();
  await writeFile(files.certFile, second.certificate);
  const noPair = `Error: ${files.certFile} and ${files.keyFile} are not a certificate and its key`;
  await expect.poll(() => problems).toEqual([noPair]);
  await rm(files.keyFile);
  await expect.poll(() => problems).toHaveLength(2);
  expect(problems[1]).toMatch(/^Error: the certificate of the listener cannot be read: ENOENT/);
  expect(certificate.current().cert.toString()).toBe(first.certificate);
  await writeFile(`${files.keyFile}.new`, second.key);
  await rename(`${files.keyFile}.new`, files.keyFile);
  await expect.poll(() => renewals).toHaveLength(1);
  expect(problems).toHaveLength(2);
});

test('a renewal that has expired does not replace a certificate that holds longer', async () => {
  const { certificate, files, first, problems, renewals, watch } = await started();
  const shorter = await makeCertificateFiles(await temporaryDirectory(), 'shorter', [], 1);
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 36 * 3_600_000 });
  onTestFinished(() => void vi.useRealTimers());
  await copyFile(shorter.keyFile, files.keyFile);
  await copyFile(shorter.certFile, files.certFile);
  watch();
  await expect.poll(() => problems).toHaveLength(1);
  expect(problems[0]).toMatch(`the certificate in ${files.certFile} expired at `);
  expect(renewals).toEqual([]);
  expect(certificate.current().cert.toString()).toBe(first.certificate);
});
