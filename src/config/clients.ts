import { z } from 'zod';
import { durationMs, word } from './values.ts';

export const clients = z
  .strictObject({
    mode: word(['anonymous'], ['basic', 'token'])
      .describe('Who may pull: `anonymous`, everyone who reaches the listener.')
      .prefault('anonymous'),
    idleTimeout: durationMs().describe('A client that takes nothing for so long is cut off.').prefault('5m'),
  })
  .transform(({ mode, idleTimeout }) => ({ mode, idleTimeoutMs: idleTimeout }))
  .describe('Who pulls.');
