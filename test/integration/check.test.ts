/** Checking jobs without submitting them: over HTTP, by the command, and by the schema that the package has. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { jetstreamManager } from "@nats-io/jetstream";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../src/bus/messages/codec.ts";
import { type Bridge, startBridge } from "../../src/http/bridge.ts";
import { jobSchema } from "../../src/job/json-schema.ts";
import { MODEL } from "../support/model-documents.ts";
import { startBuiltCli, toEnd } from "../support/process.ts";
import { System } from "../support/system.ts";
import { within } from "../support/waiting.ts";

const test = suite("check");
let system: System;
let bridge: Bridge;
let folder: string;

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), "async-test-"));
  system = await System.start();
  bridge = await startBridge({ client: system.client, port: 0 });
});
test.after(async () => {
  await bridge.close();
  await system.close();
  await rm(folder, { recursive: true });
});

const GOOD = {
  name: "order",
  functions: [
    { id: "reserve", name: "reserve" },
    { id: "charge", name: "charge", needs: ["reserve"] },
    { id: "pick", name: "pick", needs: ["reserve"], when: "data.total > 5" },
    { name: "thank" },
  ],
};
const BAD = {
  name: "order",
  functions: [{ id: "a", name: "a b" }, { name: "b", needs: ["c"], when: "results.x == 1" }, { nmae: "c" }],
};
const BAD_PATHS = [
  "/functions/0/name",
  "/functions/1/needs/0",
  "/functions/1/when",
  "/functions/2",
  "/functions/2/nmae",
];

async function ask(path: string, body?: string | Uint8Array<ArrayBuffer>, type = "application/json") {
  const init = body === undefined ? {} : { method: "POST", body, headers: { "content-type": type } };
  const response = await within(10_000, path, fetch(bridge.url + path, init));
  const text = await response.text();
  return { status: response.status, type: response.headers.get("content-type") ?? "", body: JSON.parse(text) };
}

const pathsOf = (reasons: { path: string }[]) => reasons.map(({ path }) => path).toSorted();

test("a dry run answers with the order of a job that is right, and stores nothing", async () => {
  const manager = await jetstreamManager(system.bus.nc);
  const messages = async () => (await manager.streams.info("JOBS")).state.last_seq;
  const before = await messages();
  const { status, body } = await ask("/v1/job?dry_run=true", JSON.stringify({ ...GOOD, job_id: "only-checked" }));
  assert.is(status, 200);
  assert.equal(body, { valid: true, order: [["reserve"], ["charge", "pick"], [3]] });
  assert.is(await messages(), before);
  assert.is((await ask("/v1/job/only-checked")).status, 404);
});

test("a dry run looks into child jobs, items, undo and what is called on failure", async () => {
  const { status, body } = await ask("/v1/job?dry_run=true", JSON.stringify(MODEL));
  assert.is(status, 200);
  const order = [["reserve"], ["approve"], ["charge"], ["pick", "invoice"], [4], [6]];
  assert.equal(body, { valid: true, order });
  const inner = { functions: [{ nmae: "x" }], job_id: "x" };
  const bad = {
    name: "order",
    functions: [{ job: inner }, { name: "a", concurrency: 5 }],
    on_failure: {},
    job_id: "sub-x",
  };
  const refused = await ask("/v1/job?dry_run=true", JSON.stringify(bad));
  assert.is(refused.status, 400);
  assert.equal(pathsOf(refused.body.error.reasons), [
    "/functions/0/job/functions/0",
    "/functions/0/job/functions/0/nmae",
    "/functions/0/job/job_id",
    "/functions/1/concurrency",
    "/job_id",
    "/on_failure/name",
  ]);
});

test("a dry run refuses what is wrong as a submission does, with all reasons", async () => {
  const answers = [await ask("/v1/job?dry_run=true", JSON.stringify(BAD)), await ask("/v1/job", JSON.stringify(BAD))];
  for (const { status, body } of answers) {
    assert.is(status, 400);
    assert.is(body.error.code, "invalid_submission");
    assert.equal(pathsOf(body.error.reasons), BAD_PATHS);
  }
  assert.equal(answers[0]?.body, answers[1]?.body);
});

test("a dry run takes MessagePack, and what only that can carry", async () => {
  const packed = encode({ ...GOOD, data: { total: 2n ** 60n } }, "msgpack");
  const { status, body } = await ask("/v1/job?dry_run=true", Uint8Array.from(packed), "application/msgpack");
  assert.is(status, 200, JSON.stringify(body));
});

test("a parameter that is misspelt submits nothing", async () => {
  for (const query of ["dryrun=true", "dry_run=yes", "dry_run", "dry_run=true&dry_run=false"]) {
    const { status, body } = await ask(`/v1/job?${query}`, JSON.stringify(GOOD));
    assert.is(status, 400, query);
    assert.is(body.error.code, "invalid_request");
  }
  const { status, body } = await ask("/v1/job?dry_run=false", JSON.stringify({ ...GOOD, functions: [{ name: "a" }] }));
  assert.is(status, 200);
  assert.type(body.job_id, "string");
});

test("the schema of jobs is served, and is that of the package", async () => {
  const { status, type, body } = await ask("/v1/schema/job.json");
  assert.is(status, 200);
  assert.match(type, "application/schema+json");
  assert.equal(body, jobSchema());
  assert.equal(JSON.parse(await readFile("dist/job.schema.json", "utf8")), body);
  const program = 'console.log(import.meta.resolve("async/job.schema.json"))';
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program]);
  assert.match(stdout, "dist/job.schema.json");
});

// --- async check

async function check(job: unknown, ...options: string[]): Promise<{ code: number | null; output: string }> {
  const path = join(folder, "job.json");
  await writeFile(path, typeof job === "string" || job instanceof Uint8Array ? job : JSON.stringify(job));
  // Nothing of NATS is needed.
  return toEnd(startBuiltCli(["check", path, ...options], { NATS_URL: "nats://127.0.0.1:1" }));
}

test("async check prints each fault with its place, and exits with 1", async () => {
  const { code, output } = await check(BAD);
  assert.is(code, 1);
  assert.equal(
    pathsOf(
      output
        .split("\n")
        .slice(1)
        .map((line) => ({ path: line.split(" ")[0] ?? "" })),
    ),
    BAD_PATHS,
  );
  assert.match(output, "did you mean name?");
});

test("async check draws a job that is right", async () => {
  const { code, output } = await check(GOOD);
  assert.is(code, 0, output);
  assert.equal(output.split("\n"), [
    "order: 4 entries in 3 steps",
    "",
    "     id       kind      name     follows       options",
    "┌──  reserve  function  reserve  -",
    "├─┬  charge   function  charge   reserve",
    "│ └  pick     function  pick     reserve       when data.total > 5",
    "└──  #3       function  thank    charge, pick",
  ]);
});

test("async check says that there may be more where it tells the most there can be", async () => {
  const many = (length: number) => ({ name: "many", functions: Array.from({ length }, () => ({ name: "a b" })) });
  const lines = async (length: number) => (await check(many(length))).output.trim().split("\n");
  assert.is((await lines(19)).length, 20);
  assert.equal((await lines(30)).slice(20), [
    "/functions/19/name  must consist of printable ASCII characters without spaces",
    "and maybe more: mend these first",
  ]);
});

test("async submit prints the reasons as async check does", async () => {
  const path = join(folder, "bad.json");
  await writeFile(path, JSON.stringify(BAD));
  const checked = await toEnd(startBuiltCli(["check", path]));
  const submitted = await toEnd(startBuiltCli(["submit", path], { NATS_URL: system.url }));
  assert.is(submitted.code, 2);
  assert.is(submitted.output, `async: not a valid job [invalid_submission]\n${checked.output}`);
});

test("async check --json gives reasons or the order", async () => {
  const good = await check(GOOD, "--json");
  assert.is(good.code, 0);
  assert.equal(JSON.parse(good.output), { valid: true, order: [["reserve"], ["charge", "pick"], [3]] });
  const bad = await check(BAD, "--json");
  assert.is(bad.code, 1);
  const { valid, reasons } = JSON.parse(bad.output);
  assert.is(valid, false);
  assert.equal(pathsOf(reasons), BAD_PATHS);
});

test("async check reads MessagePack and standard input, and says what is no job at all", async () => {
  assert.is((await check(encode(GOOD, "msgpack"))).code, 0);
  const piped = await toEnd(startBuiltCli(["check", "-"]), JSON.stringify(GOOD));
  assert.is(piped.code, 0);
  assert.match(piped.output, "4 entries");
  const broken = await check("{");
  assert.is(broken.code, 2);
  assert.match(broken.output, "holds no job");
  assert.equal((await check("[]")).output.split("\n")[1]?.split(" ")[0], "/");
});

test.run();
