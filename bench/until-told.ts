/** For the small processes of the load tests: they go when they are told to, and when whoever started them is gone. */
export function untilTold(close: () => Promise<unknown>): void {
  const end = () => void close();
  process.once("SIGTERM", end);
  process.once("disconnect", end);
  process.channel?.unref(); // the channel alone must not keep the process alive
}
