import { afterAll, onTestFinished } from 'vitest';

/** Takes what must be cleaned up; the last taken is cleaned up first. */
export type Owner = (cleanUp: () => Promise<void>) => void;

/** The test that is running. */
export const thisTest: Owner = (cleanUp) => {
  onTestFinished(cleanUp);
};

/** All tests of the suite, or the file, that calls it. */
export function thisSuite(): Owner {
  const cleanUps: (() => Promise<void>)[] = [];
  afterAll(async () => {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  });
  return (cleanUp) => {
    cleanUps.push(cleanUp);
  };
}
