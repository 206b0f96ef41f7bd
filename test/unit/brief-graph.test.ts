/** Brief states of graphs: at each step of a history, they and the definition are the whole state. */
import * as fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode } from "../../src/bus/messages/codec.ts";
import { BriefWriter, canBeBrief, completed } from "../../src/bus/store/brief-state.ts";
import { packDefinition, readDefinition } from "../../src/bus/store/definition.ts";
import { storedJob } from "../../src/bus/store/job-store.ts";
import { createJob, reduce } from "../../src/job/machine.ts";
import type { FunctionSpec, Submission } from "../../src/job/schema.ts";
import { type Graph, isEnded, isGraph, type JobState, type LiveJob } from "../../src/job/state.ts";
import { chooseFrom, graphDocument, tape } from "../support/graph-documents.ts";
import { happening } from "../support/graph-happenings.ts";
import { NOW, ORIGIN } from "./support.ts";

function graph(state: JobState): Graph {
  assert.ok(isGraph(state));
  return state as Graph;
}

/** Read again from its brief form. */
function readFrom(bytes: Uint8Array, submission: Uint8Array, jobId = ORIGIN.jobId): unknown {
  const { brief, problem } = storedJob(jobId, 5, bytes);
  assert.is(problem, undefined);
  assert.ok(brief, "it is brief");
  return brief && completed(brief, submission);
}

const written = (writer: BriefWriter, state: JobState) => writer.write(state as LiveJob);

test("a brief state and the submission make the whole state, at every step until the first retry (BRIEF-1, BRIEF-2)", () => {
  let met = 0;
  fc.assert(
    fc.property(tape, (numbers) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW });
      const submission = encode(document, "json");
      const writer = new BriefWriter();
      let now = NOW;
      let state = graph(createJob(document, ORIGIN, now).state);
      for (let step = 0; step < 40 && canBeBrief(state); step++) {
        met += 1;
        assert.equal(readFrom(written(writer, state), submission), { state });
        now += [0, 1, 5_000, 100_000][choose(4)] as number;
        state = graph(reduce(state, happening(state, choose, now), now).state);
      }
    }),
    { numRuns: 100, endOnFailure: true },
  );
  assert.ok(met > 300, `${met}`);
});

test("a brief state and the definition of its run make the whole state, also after retries by hand", () => {
  let met = 0;
  fc.assert(
    fc.property(tape, (numbers) => {
      const choose = chooseFrom(numbers);
      const document = graphDocument(choose, { now: NOW, hasTimes: false });
      let now = NOW;
      let state = graph(createJob(document, ORIGIN, now).state);
      let writer = new BriefWriter(9);
      let submission = definitionOf(state);
      for (let step = 0; step < 60; step++) {
        if (!isEnded(state)) {
          if (state.retries !== undefined) met += 1;
          assert.equal(readFrom(written(writer, state), submission), { state });
        }
        now += [0, 1, 5_000][choose(3)] as number;
        const { retries } = state;
        state = graph(reduce(state, happening(state, choose, now), now).state);
        if (state.retries === retries) continue;
        writer = new BriefWriter(9);
        submission = definitionOf(state);
      }
    }),
    { numRuns: 100, endOnFailure: true },
  );
  assert.ok(met > 200, `${met}`);
});

function definitionOf(state: JobState): Uint8Array {
  const definition = readDefinition(packDefinition(state));
  assert.ok(definition);
  return definition?.submission ?? new Uint8Array();
}

const fan = (count: number): FunctionSpec[] => [
  ...Array.from({ length: count }, (_, index): FunctionSpec => ({ id: `e${index}`, name: "f", needs: [] })),
  { name: "join" },
];

function open(functions: FunctionSpec[]): Graph {
  const document: Submission = { name: "fan", functions };
  return graph(createJob(document, ORIGIN, NOW).state);
}

test("steps stand in the order in which they ended", () => {
  let state = open(fan(4));
  const writer = new BriefWriter();
  written(writer, state);
  for (const index of [2, 0, 3]) {
    state = graph(reduce(state, { type: "succeeded", index, attempt: 1, result: `r${index}` }, NOW + 10).state);
  }
  const elements = decode(written(writer, state), "msgpack") as unknown[];
  assert.equal(elements.at(-1), [2, "r2", 10, 0, "r0", 0, 3, "r3", 0]);
});

test("a fan of which nothing has ended takes no more room than one of a few, and a writer that begins late writes the same", () => {
  const few = new BriefWriter().write(open(fan(5)) as unknown as LiveJob).length;
  const many = new BriefWriter().write(open(fan(900)) as unknown as LiveJob).length;
  assert.ok(many <= few + 4, `${many} > ${few}`);
  let state = open(fan(100));
  const writer = new BriefWriter();
  for (let index = 0; index < 100; index += 3) {
    state = graph(reduce(state, { type: "succeeded", index, attempt: 1, result: index }, NOW + index).state);
    const bytes = Buffer.from(written(writer, state));
    assert.equal(bytes, Buffer.from(written(new BriefWriter(), state)));
    assert.equal(readFrom(bytes, encode({ name: "fan", functions: fan(100) }, "json")), { state });
  }
});

test("branches that make no sense are a problem, not a fault", () => {
  const state = open(fan(4));
  const elements = decode(new BriefWriter().write(state as unknown as LiveJob), "msgpack") as unknown[];
  const submission = encode({ name: "fan", functions: fan(4) }, "json");
  const at = elements.findIndex((one) => typeof one === "object" && one !== null && "live" in one);
  assert.ok(at > 0);
  for (const live of [7, "x", {}, [7], [[]], [[0]], [[0, 9, NOW]], [[3, 4, NOW]], [["a", 1, NOW]], [[0, 1, "x"]]]) {
    const spoilt = elements.with(at, { ...(elements[at] as object), live });
    const { brief } = storedJob(ORIGIN.jobId, 5, encode(spoilt, "msgpack"));
    assert.ok(brief);
    const whole = brief && completed(brief, submission);
    const isShown = whole && "state" in whole && (whole.state.live?.length ?? 0) === 0;
    assert.ok(isShown || (whole && "problem" in whole), JSON.stringify(live));
  }
});

test.run();
