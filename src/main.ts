#!/usr/bin/env node
import { createProgram } from './program/program.ts';

await createProgram().parseAsync();
