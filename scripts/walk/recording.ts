import { z } from 'zod';

const recording = z.object({
  functions: z.array(z.object({ file: z.string(), name: z.string() })),
  filesInOrder: z.array(z.string()),
});

/** The functions called between two moments, by file. Paths are below src/. */
export type Recording = z.output<typeof recording>;
export type CalledFunction = Recording['functions'][number];

export function isRecording(message: unknown): message is Recording {
  return recording.safeParse(message).success;
}
