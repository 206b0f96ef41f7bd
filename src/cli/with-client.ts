/** What commands that ask a supervisor have in common. */
import { Client } from "../client/client.ts";
import { type ConnectionFlags, connectionOf } from "./options.ts";

export async function withClient(connection: ConnectionFlags, use: (client: Client) => Promise<void>): Promise<void> {
  const client = await Client.connect({ ...connectionOf(connection), name: "async-cli" });
  try {
    await use(client);
  } finally {
    await client.close();
  }
}

export function toJson(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
