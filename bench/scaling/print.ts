import { scalingTable } from './table.ts';

// Prints the table of docs/scaling.md.
process.stdout.write(`${scalingTable()}\n`);
