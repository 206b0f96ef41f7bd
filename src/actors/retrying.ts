import { setTimeout as delay } from "node:timers/promises";
import type { Bus } from "../bus/connection.ts";
import { isRefusedForGood } from "../bus/tokens/timers.ts";
import { isAsyncError } from "../job/errors.ts";

const FIRST_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;
/** A job for which the storage has no room comes again after this time. */
export const FULL_RETRY_MS = 5_000;

/**
 * Repeats an idempotent call until it succeeds, however long the bus is away.
 *
 * @param onTrouble told of the first failure, and how to ask later whether it is over
 * @returns false if `stopped()` became true first
 */
export async function untilDone(
  bus: Bus,
  stopped: () => boolean,
  onTrouble: (error: unknown, isOver: () => boolean) => void,
  call: () => Promise<void>,
): Promise<boolean> {
  let over = false;
  try {
    for (let failures = 0; !stopped(); failures++) {
      try {
        await call();
        return true;
      } catch (error) {
        if (!isAsyncError(error)) throw error;
        if (failures === 0) onTrouble(error, () => over);
        await pause(bus, failures);
      }
    }
    return false;
  } finally {
    over = true;
  }
}

/**
 * {@link untilDone} for the making of a token, which the server may refuse for good.
 *
 * @returns "refused" with why, besides what {@link untilDone} returns
 */
export async function untilPlaced(
  bus: Bus,
  stopped: () => boolean,
  onTrouble: (error: unknown, isOver?: () => boolean) => void,
  place: () => Promise<void>,
): Promise<boolean | { refused: string }> {
  let refused: string | undefined;
  const done = await untilDone(bus, stopped, onTrouble, async () => {
    try {
      await place();
    } catch (error) {
      if (!isRefusedForGood(error)) throw error;
      onTrouble(error);
      refused = error.message;
    }
  });
  return refused === undefined ? done : { refused };
}

/** About that time, from half of it to one and a half: so that supervisors do not all do it at once, again and again. In ms. */
export function around(ms: number): number {
  return ms * (0.5 + Math.random());
}

/** Waits before the next try: for the connection if it is gone, then with backoff and jitter. */
export async function pause(bus: Bus, failures: number): Promise<void> {
  await bus.whenConnected(MAX_DELAY_MS);
  await delay(Math.random() * Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** failures));
}
