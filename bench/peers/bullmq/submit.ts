/** The two ways to submit a load to BullMQ. */
import type { FlowJob } from "bullmq";
import { type Load, payloadOf } from "../../contender.ts";
import { pooled } from "../../contenders/nats.ts";
import type { BullClient } from "./client.ts";
import { ADD, QUEUE, type Step } from "./job.ts";

export type Submit = (client: BullClient, label: string, load: Load) => Promise<void>;

/** As many as our own client has under way. */
const IN_FLIGHT = 1_000;
/** Larger batches made it no faster. */
const BATCH = 500;
const BATCHES_IN_FLIGHT = 2;

export const submitEach: Submit = ({ queue, flows }, load, { jobs, functions, payloadBytes }) => {
  const data = payloadOf(payloadBytes);
  return pooled(jobs, IN_FLIGHT, async (number) => {
    if (functions > 1) await flows.add(flowOf({ load, number, functions, data }));
    else await queue.add(ADD, stepOf({ load, number, data }, 0));
  });
};

export const submitBatches: Submit = ({ queue, flows }, load, { jobs, functions, payloadBytes }) => {
  const data = payloadOf(payloadBytes);
  return pooled(Math.ceil(jobs / BATCH), BATCHES_IN_FLIGHT, async (batch) => {
    const first = batch * BATCH;
    const numbers = Array.from({ length: Math.min(BATCH, jobs - first) }, (_, i) => first + i);
    if (functions > 1) await flows.addBulk(numbers.map((number) => flowOf({ load, number, functions, data })));
    else await queue.addBulk(numbers.map((number) => ({ name: ADD, data: stepOf({ load, number, data }, 0) })));
  });
};

type Numbered = Pick<Step, "load" | "number" | "data">;

function stepOf({ load, number, data }: Numbered, index: number): Step {
  return { load, number, index, args: [number, index + 1], data };
}

function flowOf({ functions, ...job }: Numbered & { functions: number }): FlowJob {
  let flow: FlowJob = { name: ADD, queueName: QUEUE, data: stepOf(job, 0) };
  for (let index = 1; index < functions; index++) {
    flow = { name: ADD, queueName: QUEUE, data: stepOf(job, index), children: [flow] };
  }
  return flow;
}
