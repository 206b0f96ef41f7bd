import { queueGroupProblem, servedFunctions, settingsProblem } from "../bus/messages/served-functions.ts";
import type { ServiceInfo } from "../bus/messages/service.ts";

/** What is wrong with workers, as `async doctor` says it, and what to do about it. */
export function workerProblems(services: ServiceInfo[]): { what: string; next: string }[] {
  const problems: { what: string; next: string }[] = [];
  for (const [name, served] of servedFunctions(services)) {
    const what = queueGroupProblem(name, served);
    if (what !== undefined)
      problems.push({ what, next: "let it subscribe in queue group `fn`, or to another subject" });
    const differ = settingsProblem(name, served);
    if (differ !== undefined) {
      problems.push({ what: differ, next: "let them say the same; `async function show` says what counts" });
    }
  }
  for (const { name, id, metadata } of services) {
    const abandoned = Number(metadata?.abandoned ?? 0);
    if (!(abandoned > 0)) continue;
    const what = `worker ${name} ${id}: ${abandoned} handler(s) go on although their attempts were given up`;
    problems.push({ what, next: "let them end when their `signal` fires; until they do, restart the worker" });
  }
  return problems;
}
