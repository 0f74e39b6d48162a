/** Writes every file that is generated from the configuration's schema and from the metrics: `npm run schema`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generatedFiles } from './generated-files.ts';

const root = join(import.meta.dirname, '..');
for (const { path, text } of await generatedFiles(root)) writeFileSync(join(root, path), text);
