#!/usr/bin/env node
/** The `async` command. */
import { CommanderError } from "commander";
import { exitCodeOf, reportError } from "./exit.ts";
import { visibleArguments } from "./options.ts";
import { createProgram } from "./program.ts";

// What `ps` shows of us.
const visible = visibleArguments(process.argv.slice(2));
if (visible) process.title = ["async", ...visible].join(" ");

// Who reads us has enough, as in `async list | head`.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit();
  });
}

try {
  await createProgram().parseAsync();
} catch (error) {
  // Commander has told what is wrong with the arguments (or shown the help that was asked for) by itself.
  if (!(error instanceof CommanderError)) reportError(error);
  process.exitCode = exitCodeOf(error);
}
