/** `async items <id> <entry>`: what has become of each item of an entry with a `for_each`. */
import type { ItemsReply } from "../api/items.ts";
import type { Client } from "../client/client.ts";
import type { ListItemsOptions } from "../client/options.ts";
import type { ItemStateName, ItemView } from "../job/item-view.ts";
import { entryOf } from "../job/names.ts";
import type { CommonOptions } from "./jobs.ts";
import { brief, type Column, outputWidth, table } from "./table.ts";
import { print, toJson, withClient } from "./with-client.ts";

export interface ItemsCommandOptions extends CommonOptions {
  state?: ItemStateName;
  limit: number;
  cursor?: string;
  all?: true;
}

/** As JSON they are one document, or, with `--all`, one line each, as there may be a million. */
export async function items(id: string, entry: string, options: ItemsCommandOptions): Promise<void> {
  const { json, state, limit, cursor, all, ...connection } = options;
  const wanted: ListItemsOptions = {
    limit,
    ...(state !== undefined && { state }),
    ...(cursor !== undefined && { cursor }),
  };
  await withClient(connection, async (client) => {
    if (all) {
      await printAll(client, id, entry, wanted, json);
      return;
    }
    const reply = await client.items(id, entryOf(entry), wanted);
    print(json ? toJson(reply) : describeItems(reply));
    if (!json && reply.next !== undefined) process.stderr.write(`there are more; go on with --cursor ${reply.next}\n`);
  });
}

async function printAll(
  client: Client,
  id: string,
  entry: string,
  wanted: ListItemsOptions,
  json: true | undefined,
): Promise<void> {
  for (let cursor = wanted.cursor; ; ) {
    const reply = await client.items(id, entryOf(entry), { ...wanted, ...(cursor !== undefined && { cursor }) });
    if (json) for (const item of reply.items) print(JSON.stringify(item));
    else if (reply.items.length > 0 || cursor === undefined) print(describeItems(reply));
    if (reply.next === undefined) return;
    cursor = reply.next;
  }
}

export function describeItems({ items: found }: Pick<ItemsReply, "items">, width = outputWidth()): string {
  const hasChildren = found.some(({ child }) => child !== undefined);
  const rows = found.map((item) => [
    String(item.item),
    item.state,
    String(item.retry_count),
    ...(hasChildren ? [item.child ?? "-"] : []),
    outcomeOf(item),
  ]);
  const outcome: Column = { title: "OUTCOME", shorten: "end" };
  return table(["ITEM", "STATE", "RUNS", ...(hasChildren ? ["CHILD JOB"] : []), outcome], rows, width);
}

function outcomeOf({ state, result, result_omitted, error, uncertain }: ItemView): string {
  const whole = (value: unknown) => brief(value, Number.POSITIVE_INFINITY);
  if (error) return `${state === "pending" ? "last failed: " : ""}${whole(error.message)}`;
  if (uncertain) return "it may have been done";
  if (result_omitted) return "(too large to be shown)";
  return state === "pending" ? "-" : whole(result ?? null);
}
