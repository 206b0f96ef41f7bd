/** Tells a log when a connection is lost and when it is back: of one that comes and goes, once per spell. */
import type { Logger } from "pino";
import type { Bus } from "./connection.ts";

/** A connection that is lost again within this time was not really back. */
const STABLE_MS = 5_000;

/** Returns how to stop. */
export function logConnection(bus: Bus, log: Pick<Logger, "info" | "warn">): () => void {
  let lostAt = 0;
  let times = 0;
  let stable: NodeJS.Timeout | undefined;
  const onLost = () => {
    clearTimeout(stable);
    times += 1;
    if (times > 1) return;
    lostAt = performance.now();
    log.warn({ nats: bus.url }, "disconnected from NATS; it is tried again until it is back");
  };
  const onBack = () => {
    const afterMs = Math.round(performance.now() - lostAt);
    if (times === 1) log.info({ nats: bus.url, afterMs }, `reconnected to NATS after ${afterMs} ms`);
    clearTimeout(stable);
    stable = setTimeout(() => {
      if (times > 1)
        log.warn(
          { nats: bus.url, times, afterMs },
          `reconnected to NATS for good; lost ${times} times in ${afterMs} ms`,
        );
      times = 0;
    }, STABLE_MS).unref();
  };
  const stops = [bus.onDisconnected(onLost), bus.onReconnected(onBack), () => clearTimeout(stable)];
  return () => {
    for (const stop of stops) stop();
  };
}
