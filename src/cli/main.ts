#!/usr/bin/env node
/** The `async` command. */
import { CommanderError } from "commander";
import { EXIT, exitCodeOf, reportError } from "./exit.ts";
import { visibleArguments } from "./options.ts";
import { createProgram } from "./program.ts";

// What `ps` shows of us.
const visible = visibleArguments(process.argv.slice(2));
if (visible) process.title = ["async", ...visible].join(" ");

// Who reads us has enough, as in `async list | head`. What cannot be written elsewise, as the disk is full, is told where that is
// possible; a log that cannot be written ends nothing.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit();
  process.stderr.write(`async: cannot write to standard output: ${error.message}\n`);
  process.exit(EXIT.failed);
});
process.stderr.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit();
});

try {
  await createProgram().parseAsync();
} catch (error) {
  // Commander has told what is wrong with the arguments (or shown the help that was asked for) by itself.
  if (!(error instanceof CommanderError)) reportError(error);
  process.exitCode = exitCodeOf(error);
}
