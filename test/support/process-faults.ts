/**
 * Loaded into a mirror's process before its own code (`--import`): on SIGUSR2 the process does wrong what TEST_FAULT says, as a bug in it
 * would.
 */
const faults: Readonly<Record<string, () => void>> = {
  'unhandled-rejection': () => void Promise.reject(new Error('a failure that nobody handles')),
  'uncaught-exception': () => {
    throw new Error('a failure that nobody catches');
  },
};

const fault = faults[process.env['TEST_FAULT'] ?? ''];
if (fault) process.on('SIGUSR2', fault);
