import { Argument, Command, Option } from "commander";
import { DEFAULT_MAX_LIVE_JOBS } from "../actors/supervisor.ts";
import { DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT } from "../client/options.ts";
import { ITEM_STATES } from "../job/item-view.ts";
import { MAX_DURATION_MS, MAX_RETRY_LIMIT } from "../job/schema.ts";
import { STATE_NAMES, type StateName } from "../job/state.ts";
import { VERSION } from "../version.ts";
import { check } from "./check.ts";
import type { DevOptions } from "./dev.ts";
import { doctor } from "./doctor.ts";
import { items } from "./items.ts";
import { cancel, events, explain, functions, get, list, result, retry, signal, submit, workers } from "./jobs.ts";
import { DEFINITION_ACTIONS, define, definition, FUNCTION_ACTIONS, functionSettings } from "./kept.ts";
import {
  concurrencyOption,
  graceOption,
  httpOption,
  integer,
  jsonOption,
  logFormatOption,
  maxMemoryOption,
  onNats,
  several,
} from "./options.ts";
import type { ServerOptions } from "./server.ts";
import { withStorage } from "./storage-options.ts";
import { runWorker } from "./worker.ts";

// What has a bridge is loaded when it is run: others start in two thirds of the time without it.
const dev = async (modules: string[], options: DevOptions) => (await import("./dev.ts")).dev(modules, options);
const runServer = async (modules: string[], options: ServerOptions) =>
  (await import("./server.ts")).runServer(modules, options);

export function createProgram(): Command {
  const program = new Command("async")
    .description("Durable jobs on NATS: a supervisor schedules them, workers in any language run their functions.")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError("(add --help for help)");
  program.addHelpText("after", EXIT_CODES);

  const local = (usage: string, description: string) => program.command(usage).description(description);
  const connected: Command[] = [];
  const command = (usage: string, description: string) => {
    const made = local(usage, description);
    connected.push(made);
    return made;
  };

  withStorage(
    local(
      "dev [modules...]",
      "everything in one: a NATS server of its own, a supervisor, the HTTP bridge, and workers",
    ),
  )
    .addOption(httpOption())
    .option("--nats-port <n>", "port of the NATS server; 0 takes a free one", integer(0, 65_535), 4222)
    .option("--store-dir <dir>", "where jobs are kept", ".async")
    .addOption(concurrencyOption())
    .addOption(graceOption())
    .addOption(logFormatOption())
    .action(dev);

  withStorage(
    command(
      "server [modules...]",
      "a supervisor and the HTTP bridge, on a NATS server that runs already; executes the functions of modules itself",
    ),
  )
    .addOption(httpOption())
    .option("--no-http", "without the HTTP bridge")
    .option("--max-live-jobs <n>", "jobs in memory at a time", integer(1, 1_000_000), DEFAULT_MAX_LIVE_JOBS)
    .addOption(maxMemoryOption())
    .addOption(concurrencyOption())
    .addOption(graceOption())
    .addOption(logFormatOption())
    .action(runServer);

  command("worker <modules...>", "serves the functions of modules (.js or .ts) whose default export is a Worker")
    .addOption(concurrencyOption())
    .addOption(graceOption())
    .option("--name <s>", "name shown in lists of workers")
    .addOption(logFormatOption())
    .action(runWorker);

  command(
    "submit [file]",
    "submits the job in a JSON or MessagePack file, or on standard input (-); or one of a definition",
  )
    .option("--definition <name>", "run this definition, without a file")
    .option("--data <json>", "data for the job, instead of those of the file or the definition")
    .option("--id <id>", "id of the job; submitting the same id again is the same job")
    .option("--wait", "wait for the end of the job, exit with 1 if it failed")
    .addOption(jsonOption())
    .action(submit);

  command(
    "check <file>",
    "shows all that is wrong with the job in a file or on standard input (-), else draws it; submits nothing, and needs NATS only for one without functions",
  )
    .addOption(jsonOption())
    .action(check);

  command("get <id>", "shows a job").addOption(jsonOption()).action(get);

  command(
    "result <id> [entry]",
    "shows what an entry of a job has returned (its id, or its index), or the job, as JSON",
  )
    .addOption(jsonOption())
    .action(result);

  command("explain <id>", "says why a job waits: what each function that has not ended waits for, and since when")
    .addOption(jsonOption())
    .action(explain);

  command(
    "items <id> <entry>",
    "shows the items of an entry with a for_each (its id, or its index), also while the job runs",
  )
    .addOption(new Option("--state <s>", "only items in this state").choices(ITEM_STATES))
    .option("--limit <n>", "most items to show", integer(1, MAX_LIST_LIMIT), DEFAULT_LIST_LIMIT)
    .option("--all", "all there are, page after page")
    .option("--cursor <c>", "go on where a list ended")
    .addOption(jsonOption())
    .action(items);

  command(
    "cancel <id>",
    "ends a job: what runs of it is told to stop, and what it has done is undone, where it says how",
  )
    .addOption(new Option("--undo <how>", "skip: undo nothing, or nothing more").choices(["skip"]))
    .addOption(jsonOption())
    .action(cancel);

  command("retry <id>", "lets a failed or cancelled job go on where it failed; what was undone is done again")
    .option("--from <id>", "run that entry and all that follow from it again; its id, or its index in the list")
    .option("--failed", "run failed entries and items again, also of a job that has completed")
    .option("--data <json>", "other data for the job")
    .option("--args <json>", "other args for the function that it goes on at")
    .option("--args-of <id=json>", "other args for the entry with that id; may be given several times", several)
    .option("--force", "with --from: also entries whose undo has not run (else 409 undo_first)")
    .option("--wait", "wait for the end of the job, exit with 1 if it failed")
    .addOption(jsonOption())
    .action(retry);

  command("signal <id> <name> [payload]", "sends a job a signal that it waits for; the payload is JSON")
    .option("--key <key>", "the same signal again with the same key changes nothing")
    .addOption(jsonOption())
    .action(signal);

  command("list", "lists jobs, the longest unchanged first")
    .addOption(new Option("--state <s>", "only jobs in this state").choices(STATE_NAMES as StateName[]))
    .option("--tag <name:value>", "only jobs with this tag; given several times, with all of them", several)
    .option("--limit <n>", "most jobs to show", integer(1, MAX_LIST_LIMIT), DEFAULT_LIST_LIMIT)
    .option("--children", "also jobs that are children of others")
    .option("--parent <id>", "only the children of this job")
    .option("--newest", "those that have changed last first")
    .option("--cursor <c>", "go on where a list ended")
    .addOption(jsonOption())
    .action(list);

  command(
    "events <id>",
    "shows what has happened to a job, as far as it is kept: failed attempts, retries, how it ended; but that it completed only with --store-completed of the server",
  )
    .option("--follow", "show what happens from now on too, until the end of the job")
    .option("--limit <n>", "most events to show", integer(1, MAX_LIST_LIMIT), DEFAULT_LIST_LIMIT)
    .option("--cursor <c>", "go on where a list ended")
    .addOption(jsonOption())
    .action(events);

  command("doctor", "checks the server, the streams, and that every live job is going to go on; exits with 1 if not")
    .option("--fix", "brings stranded jobs back")
    .addOption(jsonOption())
    .action(doctor);

  command("define <file>", "stores the job in a file under its name: a job of that name without functions runs it")
    .addOption(jsonOption())
    .action(define);

  command("definition", "lists definitions; shows or removes (rm) one")
    .addArgument(new Argument("<action>").choices(DEFINITION_ACTIONS))
    .argument("[name]")
    .addOption(jsonOption())
    .action(definition);

  command("function", "sets, shows or takes back (unset) what counts for a function where a job does not say it")
    .addArgument(new Argument("<action>").choices(FUNCTION_ACTIONS))
    .argument("<name>")
    .option("--retry-limit <n>", "the most executions", integer(1, MAX_RETRY_LIMIT))
    .option("--retry-for-ms <ms>", "try again for so long", integer(1, MAX_DURATION_MS))
    .option("--timeout-ms <ms>", "the most time of an attempt", integer(1, MAX_DURATION_MS))
    .option("--backoff <json>", 'how long it is waited in between, e.g. {"delay_ms":500}')
    .option("--without <field>", "take a field back; may be given several times", several)
    .option("--registered", "unset: what workers have registered, instead of what was set by hand")
    .addOption(jsonOption())
    .action(functionSettings);

  command("functions", "shows what waits for each function, and who serves it")
    .addOption(jsonOption())
    .action(functions);

  command("workers", "lists the workers that are running").addOption(jsonOption()).action(workers);

  // Last, so that the help of a command begins with what is its own.
  for (const one of connected) onNats(one);

  for (const one of program.commands) {
    const lines = EXAMPLES[one.name()] ?? [];
    one.addHelpText(
      "after",
      ["", lines.length > 1 ? "Examples:" : "Example:", ...lines.map((line) => `  ${line}`)].join("\n"),
    );
  }
  return program;
}

/** What the help of each command ends with. */
const EXAMPLES: Record<string, string[]> = {
  dev: ["async dev hello.ts", "async dev hello.ts other.ts --nats-port 0 --http 8080 --retention 1h"],
  server: [
    "async server --nats nats://nats:4222 --http 0.0.0.0:8000",
    "async server mine.ts --nats tls://nats:4222 --creds server.creds",
  ],
  worker: [
    "async worker hello.ts",
    "async worker hello.ts other.js --concurrency 10 --grace 2m --nats nats://nats:4222",
  ],
  submit: [
    "async submit job.json --wait",
    "async submit - --id order-4711 --json < job.json",
    "async submit --definition order --data '{\"total\":20}'",
  ],
  check: ["async check job.json", "async check - --json < job.json"],
  get: ["async get order-4711", "async get order-4711 --json"],
  result: ["async result order-4711", "async result order-4711 charge"],
  explain: ["async explain order-4711", "async explain order-4711 --json"],
  items: ["async items order-4711 pick --state failed", "async items order-4711 pick --all --json"],
  cancel: ["async cancel order-4711", "async cancel order-4711 --undo skip"],
  retry: [
    "async retry order-4711 --wait",
    "async retry order-4711 --args '[20]'",
    "async retry order-4711 --failed",
    `async retry order-4711 --from charge --args-of charge='{"amount":10}'`,
  ],
  signal: ["async signal order-4711 approval '{\"approved\":true}'", "async signal order-4711 paid --key payment-12"],
  list: [
    "async list --state failed --newest",
    "async list --tag customer:c1",
    "async list --parent order-4711",
    "async list --limit 1000 --json",
  ],
  events: ["async events order-4711", "async events order-4711 --follow"],
  doctor: ["async doctor", "async doctor --fix"],
  define: ["async define order.json"],
  definition: ["async definition list", "async definition show order", "async definition rm order"],
  function: [
    "async function set charge --retry-limit 5 --timeout-ms 30000",
    "async function show charge",
    "async function unset charge",
  ],
  functions: ["async functions"],
  workers: ["async workers", "async workers --json"],
};

const EXIT_CODES = `
Exit codes: 0 done; 1 the job failed (--wait), or what was asked for is not possible; 2 wrong use: arguments, files, modules;
3 NATS or a supervisor cannot be reached, or takes no jobs just now.

\`async <command> --help\` has examples.`;
