#!/usr/bin/env node
/** The `async` command. */
import { CommanderError } from "commander";
import { exitCodeOf, reportError } from "./exit.ts";
import { createProgram } from "./program.ts";

try {
  await createProgram().parseAsync();
} catch (error) {
  // Commander has told what is wrong with the arguments (or shown the help that was asked for) by itself.
  if (!(error instanceof CommanderError)) reportError(error);
  process.exitCode = exitCodeOf(error);
}
