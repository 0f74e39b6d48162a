import { z } from 'zod';

const recording = z.object({
  functions: z.array(z.object({ file: z.string(), name: z.string() })),
  filesInOrder: z.array(z.string()),
});

/** What was called between two moments; files are paths below src/. */
export type Recording = z.output<typeof recording>;
export type CalledFunction = Recording['functions'][number];

export function isRecording(message: unknown): message is Recording {
  return recording.safeParse(message).success;
}
