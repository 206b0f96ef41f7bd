/** What the workers of graphile-worker say of themselves, over the channel that they have to the bench. */
import type { ChildProcess } from "node:child_process";
import { WrongResults } from "../../contender.ts";
import type { StartedProcess } from "../../process.ts";
import type { Outcome } from "../outcomes.ts";
import type { Answers, Question } from "./job.ts";

/** How many functions they have run since they were last taken. */
export async function countOf(workers: readonly StartedProcess[]): Promise<number> {
  const counts = await Promise.all(workers.map(({ child }) => ask(child, "count")));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** What came of these functions; the workers forget it. */
export async function takeOutcomes(workers: readonly StartedProcess[]): Promise<Outcome[]> {
  return (await Promise.all(workers.map(({ child }) => ask(child, "take")))).flat();
}

/** One question at a time. @throws WrongResults when the worker has gone */
function ask<Q extends Question>(child: ChildProcess, question: Q): Promise<Answers[Q]> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new WrongResults("a worker of graphile-worker has gone"));
    child.once("exit", onExit);
    child.once("message", (answer) => {
      child.off("exit", onExit);
      resolve(answer as Answers[Q]);
    });
    child.send(question, (error) => {
      if (error) reject(error);
    });
  });
}
