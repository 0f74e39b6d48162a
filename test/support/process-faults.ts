import type { LookupAllOptions } from 'node:dns';
import dns from 'node:dns/promises';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

/**
 * Loaded into a mirror's process before its own code (`--import`): on SIGUSR2 the process commits the fault TEST_FAULT, as a bug in it
 * would; `lookup-hangs` at once, so that no name but localhost is ever looked up.
 */
const faults: Readonly<Record<string, () => void>> = {
  'unhandled-rejection': () => void Promise.reject(new Error('a failure that nobody handles')),
  'fsync-hangs': hangFsync,
  'uncaught-exception': () => {
    throw new Error('a failure that nobody catches');
  },
};

const fault = faults[process.env['TEST_FAULT'] ?? ''];
if (fault) process.on('SIGUSR2', fault);
if (process.env['TEST_FAULT'] === 'lookup-hangs') hangLookup();

/** Takes a thread and never comes back: it opens a pipe without a writer. */
function hang(): Promise<unknown> {
  return open(process.env['TEST_PIPE'] ?? '', constants.O_RDONLY);
}

/** From now on each fsync hangs, as on a disk that does not answer. */
function hangFsync(): void {
  void open('/dev/null', constants.O_RDONLY).then(async (file) => {
    const sync = () => {
      process.stdout.write('{"msg":"an fsync hangs"}\n');
      return hang();
    };
    Object.assign(Object.getPrototypeOf(file), { sync });
    await file.close();
    process.stdout.write('{"msg":"fsync hangs"}\n');
  });
}

/** From now on each name lookup hangs, as with a resolver that does not answer; but that of localhost. */
function hangLookup(): void {
  const { lookup: lookupOf } = dns;
  const lookup = (hostname: string, options: LookupAllOptions) => {
    if (hostname === 'localhost') return lookupOf(hostname, options);
    process.stdout.write('{"msg":"a lookup hangs"}\n');
    return hang();
  };
  Object.assign(dns, { lookup });
  syncBuiltinESMExports();
}
