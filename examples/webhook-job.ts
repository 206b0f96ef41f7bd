/** The job of `webhook.ts`, with times that can be chosen. */
import type { JobDocument } from "async";

export interface Patience {
  /** How long it is tried, from the first time on. */
  forMs: number;
  /** The first delay; each is twice the one before, */
  delayMs: number;
  /** and none is longer than this. */
  maxDelayMs: number;
}

const HOUR_MS = 3_600_000;

/** After a second, two, four … then each hour, for three days: 83 times in all. */
export const THREE_DAYS: Patience = { forMs: 72 * HOUR_MS, delayMs: 1_000, maxDelayMs: HOUR_MS };

export function webhookJob(url: string, { forMs, delayMs, maxDelayMs }: Patience = THREE_DAYS): JobDocument {
  const backoff = { type: "exponential" as const, delay_ms: delayMs, max_delay_ms: maxDelayMs, jitter: 0 };
  return {
    name: "webhook",
    data: { url, event: { type: "order.paid", order: 4711 } },
    functions: [
      {
        id: "deliver",
        name: "deliver",
        args: { url: { $: "data.url" }, body: { $: "data.event" } },
        timeout_ms: 10_000,
        retry_options: { retry_for_ms: forMs, backoff },
        on_error: { name: "disable-webhook", args: { url: { $: "data.url" }, why: { $: "error.message" } } },
      },
    ],
  };
}
