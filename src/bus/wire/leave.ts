import type { Listening } from "./steady-subscription.ts";

/**
 * Ends subscriptions without losing what is under way: their callbacks go on until the server has confirmed that it
 * sends no more. A plain `unsubscribe()` drops in silence what arrives after it.
 */
export async function leave(subscriptions: Listening[]): Promise<void> {
  await Promise.all(
    subscriptions.map((subscription) =>
      subscription.drain().catch(() => {
        // The connection is closed: nothing can be under way.
      }),
    ),
  );
}
