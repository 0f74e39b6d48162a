import { onTestFinished } from 'vitest';

/** Takes what must be cleaned up. `onTestFinished` inside a test; in a hook pass vitest's `afterAll`. */
export type Owner = (cleanUp: () => Promise<void>) => void;

/** The test that is running. */
export const thisTest: Owner = (cleanUp) => {
  onTestFinished(cleanUp);
};
