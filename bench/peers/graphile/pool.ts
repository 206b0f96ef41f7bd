/** Connections to PostgreSQL. */
import { Pool } from "pg";

/**
 * All are made at once, and stay. By default they are made when needed and given up after 10 s, thus between two rounds
 * of a bench that alternates, and their processes of PostgreSQL with them: what a new one does would not be metered.
 */
export async function openPool(connectionString: string, size: number): Promise<Pool> {
  const pool = new Pool({ connectionString, max: size, idleTimeoutMillis: 0 });
  const report = (error: Error) => process.stderr.write(`PostgreSQL: ${error.message}\n`);
  pool.on("error", report);
  pool.on("connect", (client) => client.on("error", report));
  const clients = await Promise.all(Array.from({ length: size }, () => pool.connect()));
  for (const client of clients) client.release();
  return pool;
}
