import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/**
 * Loaded into a mirror's process before its own code (`--import`): on SIGUSR2 the process does wrong what TEST_FAULT says, as a bug in it
 * would.
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

/** From now on each fsync takes a thread and never comes back, as on a disk that does not answer: it opens a pipe that nobody writes to. */
function hangFsync(): void {
  const hung = () => open(process.env['TEST_PIPE'] ?? '', constants.O_RDONLY);
  void open('/dev/null', constants.O_RDONLY).then(async (file) => {
    Object.assign(Object.getPrototypeOf(file), { sync: hung });
    await file.close();
    process.stdout.write('{"msg":"fsync hangs"}\n');
  });
}
